"""Top up a wallet through the PSP: accepted, charged at once, booked.

The same shape as a payment, without a bill: the first transaction keeps what was asked, the PSP is called with a key
made from the top-up's id, the second transaction books it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.message import Event
from events.payments import TopUpActionRequired, TopUpFailed, TopUpWallet, WalletToppedUp
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger
from services.billing.payments.legs import ACTION_WINDOW, KEY_LIFETIME, ask
from services.billing.payments.model import Call, Instruction
from services.billing.payments.record import ACTION_POLL, open_cases, record_calls, retry_at
from services.billing.psp import (
    ActionRequired,
    Authorized,
    Captured,
    Charge,
    Declined,
    Intent,
    Psp,
    Refused,
    Unknown,
    Voided,
)

_KNOWN = text("SELECT id, request_hash FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[]))")
_INSERT = text("""
    INSERT INTO top_ups (id, channel_id, payer, amount_minor, currency, payment_method, request_hash, state, version,
        correlation_id, next_attempt_at)
    SELECT id, channel_id, payer, amount, currency, method, hash, 'accepted', 0, correlation_id,
        CAST(:resume_at AS timestamptz)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:payers AS text[]), CAST(:amounts AS bigint[]),
        CAST(:currencies AS text[]), CAST(:methods AS text[]), CAST(:hashes AS bytea[]), CAST(:correlations AS text[])
    ) AS t (id, channel_id, payer, amount, currency, method, hash, correlation_id)
    ON CONFLICT DO NOTHING
""")
_READ = text("""
    SELECT id, channel_id, payer, amount_minor, currency, payment_method, version, psp_intent_id, action_url,
        unknown_leg, attempts, created_at, reason, correlation_id
    FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'accepted'
""")
_LOCK = text("""
    SELECT id, version FROM top_ups
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'accepted' ORDER BY id FOR NO KEY UPDATE
""")
_UPDATE = text("""
    UPDATE top_ups t
    SET state = n.state, version = n.version, psp_intent_id = n.intent_id, action_url = n.action_url,
        unknown_leg = n.leg,
        unknown_since = CASE WHEN n.leg IS NULL THEN NULL ELSE coalesce(t.unknown_since, now()) END,
        reason = n.reason, next_attempt_at = n.next_at, finished_at = CASE WHEN n.state <> 'accepted' THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:versions AS int[]), CAST(:intents AS text[]),
        CAST(:urls AS text[]), CAST(:legs AS text[]), CAST(:reasons AS text[]), CAST(:nexts AS timestamptz[]))
        AS n (id, state, version, intent_id, action_url, leg, reason, next_at)
    WHERE t.id = n.id
""")


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up under way."""

    id: UUID
    channel: str
    payer: str
    amount_minor: int
    currency: str
    payment_method: str
    version: int
    intent_id: str | None
    action_url: str | None
    unknown_leg: str | None
    attempts: int
    created_at: datetime
    reason: str | None
    correlation_id: str | None


@dataclass(slots=True)
class TopUpProgress:
    """How far a top-up came."""

    top_up: TopUp
    state: str
    intent_id: str | None
    action_url: str | None = None
    unknown_leg: str | None = None
    reason: str | None = None
    case: str | None = None
    calls: list[Call] = field(default_factory=list)


async def accept_top_ups(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[TopUpWallet]],
    resume_after: timedelta,
) -> tuple[list[TopUp], list[UUID]]:
    """Keep what was asked, in the caller's transaction; the top-ups to charge, and ids reused with other content."""
    rows = await connection.execute(
        _KNOWN, {"ids": [each.command.top_up_id for each in instructions]}
    )
    known: dict[UUID, bytes] = {row.id: row.request_hash for row in rows}
    fresh: list[Instruction[TopUpWallet]] = []
    reused: list[UUID] = []
    for each in instructions:
        before = known.setdefault(each.command.top_up_id, b"")
        if before and before != hash_of(each.command):
            reused.append(each.command.top_up_id)
        elif not before:
            known[each.command.top_up_id] = hash_of(each.command)
            fresh.append(each)
    if not fresh:
        return [], reused
    commands = [each.command for each in fresh]
    await connection.execute(
        _INSERT,
        {
            "resume_at": datetime.now(UTC) + resume_after,
            "ids": [each.top_up_id for each in commands],
            "channels": [each.channel for each in commands],
            "payers": [each.payer for each in commands],
            "amounts": [each.amount_minor for each in commands],
            "currencies": [each.currency for each in commands],
            "methods": [each.payment_method for each in commands],
            "hashes": [hash_of(each) for each in commands],
            "correlations": [each.correlation_id for each in fresh],
        },
    )
    return await read_open(connection, [each.top_up_id for each in commands]), reused


async def read_open(connection: AsyncConnection, ids: Sequence[UUID]) -> list[TopUp]:
    """The top-ups among these that are still under way."""
    if not ids:
        return []
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        TopUp(
            id=row.id,
            channel=row.channel_id,
            payer=row.payer,
            amount_minor=row.amount_minor,
            currency=row.currency,
            payment_method=row.payment_method,
            version=row.version,
            intent_id=row.psp_intent_id,
            action_url=row.action_url,
            unknown_leg=row.unknown_leg,
            attempts=row.attempts,
            created_at=row.created_at,
            reason=row.reason,
            correlation_id=row.correlation_id,
        )
        for row in rows
    ]


class TopUpLegs:
    """The outside call of a top-up."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    async def run(self, top_up: TopUp) -> TopUpProgress:
        """Take the top-up as far as it goes now."""
        progress = TopUpProgress(top_up, "accepted", top_up.intent_id, reason=top_up.reason)
        abandoned = datetime.now(UTC) - top_up.created_at > ACTION_WINDOW
        match await ask(progress.calls, "charge", self._charge_or_find(top_up)):
            case Captured(intent_id):
                progress.intent_id, progress.state = intent_id, "succeeded"
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or top_up.intent_id
                progress.state, progress.reason = "declined", code[:64]
            case Voided():
                progress.state, progress.reason = "declined", top_up.reason or "voided_at_psp"
            case ActionRequired(intent_id, url) if not abandoned:
                progress.intent_id, progress.action_url = intent_id, url
            case ActionRequired(intent_id, _):
                progress.intent_id = intent_id
                await self._give_up(progress, intent_id)
            case _:
                progress.unknown_leg = "charge"
        return progress

    async def _charge_or_find(
        self, top_up: TopUp
    ) -> Captured | Authorized | ActionRequired | Declined | Voided | Unknown:
        if top_up.intent_id:
            found = await self._psp.retrieve(top_up.intent_id)
            return found if isinstance(found, Unknown) else _outcome(found, top_up)
        if top_up.attempts:
            sought = await self._psp.find(top_up.id)
            if sought is not None:
                return sought if isinstance(sought, Unknown) else _outcome(sought, top_up)
            if datetime.now(UTC) - top_up.created_at > KEY_LIFETIME:
                return Declined(None, "never_charged", "the PSP knows of no such charge")
        metadata = {"charge_id": str(top_up.id), "kind": "top_up"}
        return await self._psp.charge(
            Charge(top_up.id, top_up.amount_minor, top_up.currency, top_up.payment_method, metadata)
        )

    async def _give_up(self, progress: TopUpProgress, intent_id: str) -> None:
        # The payer never confirmed. A late success is looked for again, and booked: `charge` will find it captured.
        match await ask(progress.calls, "void", self._psp.void(intent_id, progress.top_up.id)):
            case Voided():
                progress.state, progress.reason = "declined", "action_abandoned"
            case Refused() | Unknown():
                progress.unknown_leg, progress.reason = "void", "action_abandoned"


async def record_top_ups(connection: AsyncConnection, results: Sequence[TopUpProgress]) -> int:
    """Record these results in the caller's transaction; how many of them were still to be recorded."""
    now = datetime.now(UTC)
    await record_calls(
        connection, [(each.top_up.id, call) for each in results for call in each.calls]
    )
    rows = await connection.execute(_LOCK, {"ids": [each.top_up.id for each in results]})
    versions = {row.id: row.version for row in rows}
    current = [each for each in results if versions.get(each.top_up.id) == each.top_up.version]
    if not current:
        return 0
    said = {each.top_up.id: event for each in current if (event := _event(each)) is not None}
    await connection.execute(
        _UPDATE,
        {
            "ids": [each.top_up.id for each in current],
            "states": [each.state for each in current],
            "versions": [each.top_up.version + (each.top_up.id in said) for each in current],
            "intents": [each.intent_id for each in current],
            "urls": [each.action_url for each in current],
            "legs": [each.unknown_leg for each in current],
            "reasons": [each.reason for each in current],
            "nexts": [_next_attempt(each, now) for each in current],
        },
    )
    transfers = [
        ledger.top_up(each.top_up.id, _wallet(each.top_up), each.top_up.amount_minor, now)
        for each in current
        if each.state == "succeeded"
    ]
    ids = await ledger.open_accounts(
        connection, [account for each in transfers for account in (each.debit, each.credit)]
    )
    await ledger.post(connection, transfers, ids)
    await open_cases(connection, [(p.top_up.id, "top_up", p.case) for p in current if p.case])
    await enqueue(
        connection,
        [
            Outgoing.of(
                said[each.top_up.id],
                each.top_up.version + 1,
                correlation_id=each.top_up.correlation_id,
            )
            for each in current
            if each.top_up.id in said
        ],
    )
    return len(current)


def hash_of(command: TopUpWallet) -> bytes:
    """What makes two top-up commands the same: everything but the id."""
    said = (
        f"{command.channel}\n{command.payer}\n{command.amount_minor}\n{command.currency}"
        f"\n{command.payment_method}"
    )
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _outcome(
    intent: Intent, top_up: TopUp
) -> Captured | Authorized | ActionRequired | Declined | Voided | Unknown:
    return intent.outcome_for(top_up.id, top_up.amount_minor, top_up.currency)


def _wallet(top_up: TopUp) -> ledger.Account:
    return ledger.wallet(top_up.channel, top_up.payer, top_up.currency)


def _next_attempt(progress: TopUpProgress, now: datetime) -> datetime | None:
    if progress.state != "accepted":
        return None
    return now + ACTION_POLL if progress.action_url else retry_at(now, progress.top_up.attempts)


def _event(progress: TopUpProgress) -> Event | None:
    top_up = progress.top_up
    about = {
        "top_up_id": top_up.id,
        "channel": top_up.channel,
        "payer": top_up.payer,
        "amount_minor": top_up.amount_minor,
        "currency": top_up.currency,
    }
    if progress.state == "succeeded":
        return WalletToppedUp.model_validate(about)
    if progress.state == "declined":
        return TopUpFailed.model_validate({**about, "reason": progress.reason})
    if progress.action_url and progress.action_url != top_up.action_url:
        return TopUpActionRequired.model_validate({**about, "action_url": progress.action_url})
    return None

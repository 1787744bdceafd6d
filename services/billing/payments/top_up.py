"""Top up a wallet: charge the payer's means of payment, and add it to the wallet's balance.

The same shape as a payment, without a bill: the first transaction keeps what was asked, the PSP is called with a key
made from the top-up's id, the second transaction books it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import NO_ERRAND, Booking, Errand, NewErrand, Turn
from events.ids import derived_id
from events.payments import TopUpFailed, TopUpWallet
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger
from services.billing.channels import payment_limits
from services.billing.institutions import PSP
from services.billing.payments import fingerprint
from services.billing.payments.decide import reason_against_top_up
from services.billing.payments.model import Call, Instruction, in_words
from services.billing.psp import Charge
from services.billing.subject import Kind, Subject

_KNOWN = text("SELECT id, request_hash FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[]))")
_INSERT = text("""
    INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, request_hash,
        state, version, reason, correlation_id, finished_at)
    SELECT id, transfer_id, channel_id, payer, amount, currency, method, hash,
        CASE WHEN reason IS NULL THEN 'accepted' ELSE 'declined' END, CASE WHEN reason IS NULL THEN 0 ELSE 1 END,
        reason, correlation_id, CASE WHEN reason IS NOT NULL THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:transfers AS uuid[]), CAST(:channels AS text[]), CAST(:payers AS text[]),
        CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:methods AS text[]), CAST(:hashes AS bytea[]),
        CAST(:reasons AS text[]), CAST(:correlations AS text[])
    ) AS t (id, transfer_id, channel_id, payer, amount, currency, method, hash, reason, correlation_id)
""")
_READ = text("""
    SELECT id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, psp_intent_id, action_url,
        created_at, reason, correlation_id, former_psp_key
    FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'accepted'
""")


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up under way. `transfer_id` is the id of the transfer that will book it."""

    id: UUID
    transfer_id: UUID
    channel: str
    payer: str
    amount_minor: int
    currency: str
    payment_method: str
    intent_id: str | None
    action_url: str | None
    created_at: datetime
    reason: str | None
    correlation_id: str | None
    former_key: bool = False  # see psp.Charge
    errand: Errand = NO_ERRAND

    @property
    def subject(self) -> Subject:
        """The top-up, as calls and cases name it."""
        return Subject(Kind.TOP_UP, self.id)

    @property
    def charge(self) -> Charge:
        """The top-up as the PSP is asked for it."""
        return Charge(
            self.subject,
            self.amount_minor,
            self.currency,
            self.payment_method,
            self.former_key,
            self.errand.attempt,
        )

    @property
    def wallet(self) -> ledger.Account:
        """Where the money goes."""
        return ledger.wallet(self.channel, self.payer, self.currency)


@dataclass(slots=True)
class TopUpProgress:
    """How far a top-up came."""

    top_up: TopUp
    turn: Turn
    state: str
    intent_id: str | None
    action_url: str | None = None
    reason: str | None = None
    case: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The top-up, as calls and cases name it."""
        return self.top_up.subject

    def learnt(self) -> str:
        """See cases.Result."""
        return in_words(self.state, self.reason, self.turn, intent=self.intent_id)


async def accept_top_ups(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[TopUpWallet]],
    booking: Booking,
) -> tuple[list[TopUp], list[int]]:
    """Keep the commands, in the caller's transaction; the top-ups that have a place at the PSP, and the positions whose
    id is reused.

    Raises IntegrityError when another worker accepts one of them in this moment: the batch is then to come again.
    """
    commands = [each.command for each in instructions]
    rows = await connection.execute(_KNOWN, {"ids": [each.top_up_id for each in commands]})
    known: dict[UUID, bytes] = {row.id: row.request_hash for row in rows}
    prints = [fingerprint.of_top_up(each) for each in commands]
    fresh, reused = fingerprint.sort_out([each.top_up_id for each in commands], prints, known)
    if not fresh:
        return [], reused
    limits = await payment_limits(connection)
    new = [instructions[position] for position in fresh]
    reasons = [reason_against_top_up(each.command, limits) for each in new]
    await _insert(connection, new, [prints[n] for n in fresh], reasons)
    refused = zip(new, reasons, strict=True)
    await enqueue(connection, [_failed(each, reason) for each, reason in refused if reason])
    top_ups = await _read(connection, [each.command.top_up_id for each in new])
    return await _write_errands(connection, top_ups, booking), reused


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[TopUp]:
    """The top-ups of these errands that are still under way; the errand of one that has ended goes."""
    found = {each.subject: each for each in claimed}
    top_ups = await _read(connection, list(found))
    still_open = {each.id for each in top_ups}
    await errands.end_all_but(connection, claimed, still_open)
    return [replace(each, errand=found[each.id]) for each in top_ups]


async def _write_errands(
    connection: AsyncConnection, top_ups: Sequence[TopUp], booking: Booking
) -> list[TopUp]:
    # One for each top-up; returned are those that have a place.
    places = booking.hold(PSP, len(top_ups)) if top_ups else 0
    lease = booking.lease_seconds
    new = [
        NewErrand(Kind.TOP_UP, each.id, PSP, "charge", lease if n < places else None)
        for n, each in enumerate(top_ups)
    ]
    await errands.add(connection, new)
    return [
        replace(each, errand=Errand(Kind.TOP_UP, each.id, PSP, "charge", each.created_at))
        for each in top_ups[:places]
    ]


async def _read(connection: AsyncConnection, ids: Sequence[UUID]) -> list[TopUp]:
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        TopUp(
            id=row.id,
            transfer_id=row.transfer_id,
            channel=row.channel_id,
            payer=row.payer,
            amount_minor=row.amount_minor,
            currency=row.currency,
            payment_method=row.payment_method,
            intent_id=row.psp_intent_id,
            action_url=row.action_url,
            created_at=row.created_at,
            reason=row.reason,
            correlation_id=row.correlation_id,
            former_key=bool(row.former_psp_key),
        )
        for row in rows
    ]


async def _insert(
    connection: AsyncConnection,
    new: Sequence[Instruction[TopUpWallet]],
    prints: Sequence[bytes],
    reasons: Sequence[str | None],
) -> None:
    commands = [each.command for each in new]
    await connection.execute(
        _INSERT,
        {
            "ids": [each.top_up_id for each in commands],
            "transfers": [derived_id(Kind.TOP_UP, each.top_up_id) for each in commands],
            "channels": [each.channel for each in commands],
            "payers": [each.payer for each in commands],
            "amounts": [each.amount_minor for each in commands],
            "currencies": [each.currency for each in commands],
            "methods": [each.payment_method for each in commands],
            "hashes": list(prints),
            "reasons": list(reasons),
            "correlations": [each.correlation_id for each in new],
        },
    )


def _failed(instruction: Instruction[TopUpWallet], reason: str) -> Outgoing:
    command = instruction.command
    event = TopUpFailed(
        top_up_id=command.top_up_id,
        channel=command.channel,
        payer=command.payer,
        amount_minor=command.amount_minor,
        currency=command.currency,
        reason=reason,
    )
    return Outgoing.of(event, 1, instruction.correlation_id, instruction.traceparent)

"""Give money back, all of a payment or a part of it.

The amount is reserved on the payment before anybody is asked (a CHECK keeps refunds within the capture), so concurrent
refunds can't exceed it. The refund that completes a payment first has the biller take its mark back: a bill is never
refunded and still marked paid. Then the money goes back where it came from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.payments import RefundPayment
from services.billing.bills.connectors import BillerRefused, Connectors, NotApplied, Unapplied
from services.billing.payments.legs import ask
from services.billing.payments.model import Call, Instruction, serial_of
from services.billing.psp import Psp, Refunded, RefundPending, Refused, Unknown

_LOCK_PAYMENTS = text("""
    SELECT p.id, p.channel_id, p.state, p.captured_minor - p.refunded_minor - p.refund_pending_minor AS left_minor
    FROM payments p WHERE p.id = ANY(CAST(:ids AS uuid[])) ORDER BY p.id FOR NO KEY UPDATE
""")
_KNOWN = text("SELECT id, request_hash FROM refunds WHERE id = ANY(CAST(:ids AS uuid[]))")
_INSERT = text("""
    INSERT INTO refunds (id, payment_id, amount_minor, request_hash, state, version, reason, correlation_id,
        next_attempt_at, finished_at)
    SELECT id, payment_id, amount, hash, state, 1, reason, correlation_id,
        CASE WHEN state = 'accepted' THEN CAST(:resume_at AS timestamptz) END,
        CASE WHEN state = 'failed' THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:payments AS uuid[]), CAST(:amounts AS bigint[]),
        CAST(:hashes AS bytea[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:correlations AS text[])
    ) AS r (id, payment_id, amount, hash, state, reason, correlation_id)
""")
_RESERVE = text("""
    UPDATE payments p SET refund_pending_minor = p.refund_pending_minor + r.amount
    FROM unnest(CAST(:ids AS uuid[]), CAST(:amounts AS bigint[])) AS r (id, amount) WHERE p.id = r.id
""")
_READ = text("""
    SELECT r.id, r.payment_id, r.amount_minor, r.state, r.version, r.attempts, r.unknown_leg, r.psp_refund_id,
        r.correlation_id, r.reason, p.psp_intent_id, p.biller_id, b.settled_by,
        p.refunded_minor + p.refund_pending_minor = p.captured_minor AS completes
    FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN billers b ON b.id = p.biller_id
    WHERE r.id = ANY(CAST(:ids AS uuid[])) AND r.state IN ('accepted', 'unapplied')
""")

Answer = Refunded | RefundPending | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under way, with what its calls need. `completes`: with it all of the payment has gone back."""

    id: UUID
    payment_id: UUID
    amount_minor: int
    state: str
    version: int
    intent_id: str | None  # empty: the wallet paid
    biller_id: str
    completes: bool
    by_file: bool
    attempts: int = 0
    unknown_leg: str | None = None
    psp_refund_id: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    reserved: bool = True  # whether the amount is set aside on the payment

    @property
    def serial(self) -> str:
        """The serial under which the payment was applied."""
        return serial_of(self.payment_id)


@dataclass(slots=True)
class RefundProgress:
    """How far a refund came."""

    refund: Refund
    state: str
    psp_refund_id: str | None
    unknown_leg: str | None = None
    reason: str | None = None
    case: str | None = None
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AcceptedRefunds:
    """What came of a batch: refunds to work on, refunds refused at once, and ids that can't be taken at all."""

    open: list[Refund]
    refused: list[RefundProgress]
    wrong: dict[UUID, str]


async def accept_refunds(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[RefundPayment]],
    resume_after: timedelta,
) -> AcceptedRefunds:
    """Reserve the amounts in the caller's transaction. A command that was accepted before changes nothing."""
    rows = await connection.execute(
        _LOCK_PAYMENTS, {"ids": sorted({each.command.payment_id for each in instructions})}
    )
    payments = {row.id: row for row in rows}
    known_rows = await connection.execute(
        _KNOWN, {"ids": [each.command.refund_id for each in instructions]}
    )
    known: dict[UUID, bytes] = {row.id: row.request_hash for row in known_rows}
    left = {id: row.left_minor for id, row in payments.items()}
    wrong: dict[UUID, str] = {}
    decided: list[tuple[Instruction[RefundPayment], int, str | None]] = []
    for each in instructions:
        command = each.command
        payment = payments.get(command.payment_id)
        before = known.get(command.refund_id)
        if before is not None:
            if before != hash_of(command):
                wrong[command.refund_id] = "refund_id_reused"
            continue
        if payment is None or payment.channel_id != command.channel:
            wrong[command.refund_id] = "payment_unknown"
            continue
        known[command.refund_id] = hash_of(command)
        amount = command.amount_minor or max(left[command.payment_id], 0)
        reason = _reason_against(payment.state, amount, left[command.payment_id])
        if reason is None:
            left[command.payment_id] -= amount
        decided.append((each, amount, reason))
    await _insert(connection, decided, datetime.now(UTC) + resume_after)
    accepted = [each.command.refund_id for each, _, reason in decided if reason is None]
    refused = [_refused(each, amount, reason) for each, amount, reason in decided if reason]
    return AcceptedRefunds(await read_open(connection, accepted), refused, wrong)


async def read_open(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Refund]:
    """The refunds among these that are still under way."""
    if not ids:
        return []
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        Refund(
            id=row.id,
            payment_id=row.payment_id,
            amount_minor=row.amount_minor,
            state=row.state,
            version=row.version,
            intent_id=row.psp_intent_id,
            biller_id=row.biller_id,
            completes=row.completes,
            by_file=row.settled_by == "file",
            attempts=row.attempts,
            unknown_leg=row.unknown_leg,
            psp_refund_id=row.psp_refund_id,
            reason=row.reason,
            correlation_id=row.correlation_id,
        )
        for row in rows
    ]


class RefundLegs:
    """The outside calls of refunds."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors

    async def run(self, refund: Refund) -> RefundProgress:
        """Take the refund as far as it goes now."""
        progress = RefundProgress(refund, refund.state, refund.psp_refund_id, reason=refund.reason)
        if refund.state == "accepted" and not await self._unapply(progress):
            return progress
        await self._give_back(progress)
        return progress

    async def _unapply(self, progress: RefundProgress) -> bool:
        refund = progress.refund
        if refund.by_file or not refund.completes:
            return (
                True  # a file biller reads it in the day file; a part is netted with the remittance
            )
        connector = await self._connectors.of(refund.biller_id)
        match await ask(progress.calls, "unapply", connector.unapply(refund.serial)):
            case Unapplied() | NotApplied():
                progress.state = "unapplied"
                return True
            case BillerRefused(code):
                progress.state, progress.reason = "failed", f"biller_refused:{code}"[:64]
            case _:
                progress.unknown_leg = "unapply"
        return False

    async def _give_back(self, progress: RefundProgress) -> None:
        refund = progress.refund
        if refund.intent_id is None:
            progress.state = "succeeded"
            return
        match await ask(progress.calls, "refund", self._refund_or_find(refund, refund.intent_id)):
            case Refunded(psp_refund_id):
                progress.psp_refund_id, progress.state = psp_refund_id, "succeeded"
            case RefundPending(psp_refund_id):
                progress.psp_refund_id, progress.unknown_leg = psp_refund_id, "refund"
            case Refused(code, said):
                self._refused(progress, code, said)
            case _:
                progress.unknown_leg = "refund"

    async def _refund_or_find(self, refund: Refund, intent_id: str) -> Answer:
        if refund.attempts or refund.psp_refund_id:
            found = await self._psp.find_refund(refund.id, intent_id, refund.amount_minor)
            if found is not None:
                return found
        return await self._psp.refund(refund.id, intent_id, refund.amount_minor)

    def _refused(self, progress: RefundProgress, code: str, said: str) -> None:
        if progress.state == "accepted":
            progress.state, progress.reason = "failed", f"psp_refused:{code}"[:64]
        else:
            # The biller has taken its mark back, so this money has to go back: a person must find the way.
            progress.unknown_leg = "refund"
            progress.case = (
                f"unapplied at the biller, but the PSP refuses the refund: {code} {said}"
            )


def hash_of(command: RefundPayment) -> bytes:
    """What makes two refund commands the same: everything but the refund's id."""
    said = f"{command.payment_id}\n{command.channel}\n{command.amount_minor or ''}"
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _reason_against(state: str, amount_minor: int, left_minor: int) -> str | None:
    if state not in {"succeeded", "partially_refunded"}:
        return "already_refunded" if state in {"refunded", "reversed"} else "not_succeeded"
    if left_minor <= 0:
        return "already_refunded"
    if amount_minor > left_minor:
        return "more_than_is_left"
    return None


def _refused(
    instruction: Instruction[RefundPayment], amount_minor: int, reason: str
) -> RefundProgress:
    command = instruction.command
    refund = Refund(
        id=command.refund_id,
        payment_id=command.payment_id,
        amount_minor=amount_minor,
        state="failed",
        version=1,
        intent_id=None,
        biller_id="",
        completes=False,
        by_file=False,
        correlation_id=instruction.correlation_id,
        reserved=False,
    )
    return RefundProgress(refund, "failed", None, reason=reason)


async def _insert(
    connection: AsyncConnection,
    decided: Sequence[tuple[Instruction[RefundPayment], int, str | None]],
    resume_at: datetime,
) -> None:
    if not decided:
        return
    await connection.execute(
        _INSERT,
        {
            "resume_at": resume_at,
            "ids": [each.command.refund_id for each, _, _ in decided],
            "payments": [each.command.payment_id for each, _, _ in decided],
            # What was asked for when nothing is left: an amount must be positive, and the refund has failed anyway.
            "amounts": [max(amount, 1) for _, amount, _ in decided],
            "hashes": [hash_of(each.command) for each, _, _ in decided],
            "states": ["failed" if reason else "accepted" for _, _, reason in decided],
            "reasons": [reason for _, _, reason in decided],
            "correlations": [each.correlation_id for each, _, _ in decided],
        },
    )
    reserved: dict[UUID, int] = {}
    for each, amount, reason in decided:
        if reason is None:
            id = each.command.payment_id
            reserved[id] = reserved.get(id, 0) + amount
    if reserved:
        await connection.execute(
            _RESERVE, {"ids": list(reserved), "amounts": list(reserved.values())}
        )

"""Give money back, all of a payment or a part of it: the first transaction.

The amount is reserved on the payment before anybody is asked (a CHECK keeps refunds within the capture), so concurrent
refunds can't exceed it. The refund that completes a payment waits for those before it, so that it alone decides about
the biller's mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.ids import derived_id
from events.payments import RefundPayment
from services.billing import ledger
from services.billing.bills.connectors import Application
from services.billing.payments import fingerprint
from services.billing.payments.model import Call, Instruction, in_words, serial_of
from services.billing.subject import Kind, Subject

_LOCK_PAYMENTS = text("""
    SELECT p.id, p.channel_id, p.state, p.captured_minor - p.refunded_minor - p.refund_pending_minor AS left_minor,
        p.correlation_id
    FROM payments p WHERE p.id = ANY(CAST(:ids AS uuid[])) ORDER BY p.id FOR NO KEY UPDATE
""")
_KNOWN = text("SELECT id, request_hash FROM refunds WHERE id = ANY(CAST(:ids AS uuid[]))")
# The time is of the insert and not of the transaction: under the payment's lock it tells which refund came first.
_INSERT = text("""
    INSERT INTO refunds (id, transfer_id, payment_id, amount_minor, request_hash, state, reason, correlation_id,
        reversal, created_at, next_attempt_at, finished_at)
    SELECT id, transfer_id, payment_id, amount, hash, state, reason, correlation_id, reversal, clock_timestamp(),
        CASE WHEN state <> 'failed' THEN now() + CAST(:resume_after AS interval) END,
        CASE WHEN state = 'failed' THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:transfers AS uuid[]), CAST(:payments AS uuid[]), CAST(:amounts AS bigint[]),
        CAST(:hashes AS bytea[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:correlations AS text[]),
        CAST(:reversals AS bool[])
    ) AS r (id, transfer_id, payment_id, amount, hash, state, reason, correlation_id, reversal)
""")
_RESERVE = text("""
    UPDATE payments p SET refund_pending_minor = p.refund_pending_minor + r.amount
    FROM unnest(CAST(:ids AS uuid[]), CAST(:amounts AS bigint[])) AS r (id, amount) WHERE p.id = r.id
""")
_READ = text("""
    SELECT r.id, r.transfer_id, r.payment_id, r.amount_minor, r.state, r.attempts, r.unknown_leg, r.psp_refund_id,
        r.correlation_id, r.reason, r.reversal, p.psp_intent_id, p.biller_id, p.channel_id, p.payer, p.currency,
        p.funding, b.settled_by, p.amount_minor AS paid_minor, coalesce(bills.bill_number, '') AS bill,
        coalesce(a.account_number, '') AS account,
        older.open_minor, p.refunded_minor + older.open_minor + r.amount_minor = p.captured_minor AS completes
    FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN billers b ON b.id = p.biller_id
    LEFT JOIN bills ON bills.id = p.bill_id LEFT JOIN accounts a ON a.id = bills.account_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.amount_minor), 0) AS open_minor FROM refunds o
        WHERE o.payment_id = r.payment_id AND o.state IN ('accepted', 'unapplied')
          AND (o.created_at, o.id) < (r.created_at, r.id)) older
    WHERE r.id = ANY(CAST(:ids AS uuid[])) AND r.state IN ('accepted', 'unapplied')
""")
# Of a refund that was just decided: nobody is asked before it is read back.
_NOTHING_APPLIED = Application("", "", "", 0, "")


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under way, with what its calls need. `completes`: with it all of the payment has gone back."""

    id: UUID
    payment_id: UUID
    amount_minor: int
    state: str
    intent_id: str | None = None  # empty: the wallet paid
    wallet: ledger.Account | None = None  # empty: the PSP paid
    biller_id: str = ""
    completes: bool = False
    waits: bool = False  # completes, and older refunds of the payment are not through
    by_file: bool = False
    attempts: int = 0
    psp_refund_id: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    reversal: bool = False  # the biller took its mark back by itself
    reserved: bool = True  # whether the amount is set aside on the payment
    transfer_id: UUID | None = None  # of the transfer that books it; set once the refund is kept
    application: Application = _NOTHING_APPLIED  # the payment as the biller marked it

    @property
    def subject(self) -> Subject:
        """The refund, as calls and cases name it."""
        return Subject(Kind.REFUND, self.id)


@dataclass(slots=True)
class RefundProgress:
    """How far a refund came."""

    refund: Refund
    state: str
    psp_refund_id: str | None = None
    unknown_leg: str | None = None
    reason: str | None = None
    case: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The refund, as calls and cases name it."""
        return self.refund.subject

    def learnt(self) -> str:
        """See cases.Result."""
        return in_words(self.state, self.reason, self.unknown_leg, refund=self.psp_refund_id)


@dataclass(frozen=True, slots=True)
class Reversal:
    """A biller took its mark back without being asked. `reason` is a short code, for example taken_back_by_biller."""

    payment_id: UUID
    reason: str = "taken_back_by_biller"

    @property
    def refund_id(self) -> UUID:
        """The refund that it becomes: there is at most one reversal of a payment."""
        return derived_id("reversal", self.payment_id)


@dataclass(frozen=True, slots=True)
class AcceptedRefunds:
    """What came of a batch: refunds to work on, refunds refused at once, and why positions can't be taken at all."""

    open: list[Refund]
    refused: list[RefundProgress]
    wrong: dict[int, str]


async def accept_refunds(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[RefundPayment]],
    resume_after: timedelta,
) -> AcceptedRefunds:
    """Reserve the amounts in the caller's transaction. A command that was accepted before changes nothing."""
    commands = [each.command for each in instructions]
    rows = await connection.execute(
        _LOCK_PAYMENTS, {"ids": sorted({each.payment_id for each in commands})}
    )
    payments = {row.id: row for row in rows}
    known = await _known(connection, [each.refund_id for each in commands])
    wrong = {
        position: "payment_unknown"
        for position, each in enumerate(commands)
        if each.payment_id not in payments or payments[each.payment_id].channel_id != each.channel
    }
    ours = [position for position in range(len(commands)) if position not in wrong]
    prints = [fingerprint.of_refund(commands[n]) for n in ours]
    fresh, reused = fingerprint.sort_out([commands[n].refund_id for n in ours], prints, known)
    wrong |= {ours[n]: "refund_id_reused" for n in reused}
    left = {id: row.left_minor for id, row in payments.items()}
    decided: list[RefundProgress] = []
    for position in fresh:
        instruction = instructions[ours[position]]
        payment_id = instruction.command.payment_id
        decided.append(_decide(instruction, payments[payment_id].state, left[payment_id]))
        if decided[-1].refund.reserved:
            left[payment_id] -= decided[-1].refund.amount_minor
    await _insert(connection, decided, [prints[n] for n in fresh], resume_after)
    accepted = [each.refund.id for each in decided if each.refund.reserved]
    refused = [each for each in decided if not each.refund.reserved]
    return AcceptedRefunds(await read_open(connection, accepted), refused, wrong)


async def accept_reversals(
    connection: AsyncConnection, reversals: Sequence[Reversal], resume_after: timedelta
) -> list[Refund]:
    """Reserve all that is left of these payments in the caller's transaction; a second time there is nothing left."""
    asked = {each.payment_id: each for each in reversals}
    rows = await connection.execute(_LOCK_PAYMENTS, {"ids": sorted(asked)})
    left = {row.id: row for row in rows if row.left_minor > 0}
    known = await _known(connection, [asked[id].refund_id for id in left])
    decided = [
        RefundProgress(
            Refund(
                asked[id].refund_id,
                id,
                row.left_minor,
                "unapplied",
                correlation_id=row.correlation_id,
                reversal=True,
            ),
            "unapplied",
            reason=asked[id].reason,
        )
        for id, row in left.items()
        if asked[id].refund_id not in known
    ]
    await _insert(connection, decided, [each.refund.id.bytes for each in decided], resume_after)
    return await read_open(connection, [each.refund.id for each in decided])


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
            intent_id=row.psp_intent_id,
            wallet=ledger.wallet(row.channel_id, row.payer, row.currency)
            if row.funding == "wallet"
            else None,
            biller_id=row.biller_id,
            completes=row.completes,
            waits=row.completes and row.open_minor > 0,
            by_file=row.settled_by == "file",
            attempts=row.attempts,
            psp_refund_id=row.psp_refund_id,
            reason=row.reason,
            correlation_id=row.correlation_id,
            reversal=row.reversal,
            transfer_id=row.transfer_id,
            application=Application(
                serial_of(row.payment_id), row.account, row.bill, row.paid_minor, row.currency
            ),
        )
        for row in rows
    ]


def _decide(
    instruction: Instruction[RefundPayment], payment_state: str, left_minor: int
) -> RefundProgress:
    command = instruction.command
    amount = command.amount_minor or max(left_minor, 0)
    reason = _reason_against(payment_state, amount, left_minor)
    state = "failed" if reason else "accepted"
    refund = Refund(
        command.refund_id,
        command.payment_id,
        amount,
        state,
        correlation_id=instruction.correlation_id,
        reserved=reason is None,
    )
    return RefundProgress(refund, state, reason=reason)


def _reason_against(state: str, amount_minor: int, left_minor: int) -> str | None:
    if state not in {"succeeded", "partially_refunded"}:
        return "already_refunded" if state in {"refunded", "reversed"} else "not_succeeded"
    if left_minor <= 0:
        return "already_refunded"
    if amount_minor > left_minor:
        return "more_than_is_left"
    return None


async def _known(connection: AsyncConnection, refund_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    rows = await connection.execute(_KNOWN, {"ids": list(refund_ids)})
    return {row.id: row.request_hash for row in rows}


async def _insert(
    connection: AsyncConnection,
    decided: Sequence[RefundProgress],
    prints: Sequence[bytes],
    resume_after: timedelta,
) -> None:
    if not decided:
        return
    refunds = [each.refund for each in decided]
    await connection.execute(
        _INSERT,
        {
            "resume_after": resume_after,
            "ids": [each.id for each in refunds],
            "transfers": [derived_id(Kind.REFUND, each.id) for each in refunds],
            "payments": [each.payment_id for each in refunds],
            # Nothing was left, and no amount was named: an amount must be positive, and the refund has failed anyway.
            "amounts": [max(each.amount_minor, 1) for each in refunds],
            "hashes": list(prints),
            "states": [each.state for each in decided],
            "reasons": [each.reason for each in decided],
            "correlations": [each.correlation_id for each in refunds],
            "reversals": [each.reversal for each in refunds],
        },
    )
    reserved: dict[UUID, int] = {}
    for each in refunds:
        if each.reserved:
            reserved[each.payment_id] = reserved.get(each.payment_id, 0) + each.amount_minor
    if reserved:
        await connection.execute(
            _RESERVE, {"ids": list(reserved), "amounts": list(reserved.values())}
        )

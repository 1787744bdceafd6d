"""Accept payments: the first transaction, a batch at a time.

Each command is checked against its bill, the rule and the limits, and wallet money is set aside. What needs nobody
outside (paid from the wallet, to a biller that settles by file) is finished right here, with transfer, receipt and
events; the rest is returned, to be asked for outside.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.payments import PayBill
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.bills import Bill, find_bills
from services.billing.channels import payment_limits
from services.billing.payments import announce
from services.billing.payments.decide import reason_against
from services.billing.payments.model import Instruction, Payment, payment_method_of
from services.billing.payments.tables import HOLDS_BILL, State

_KNOWN = text("""
    SELECT id, bill_id, request_hash FROM payments WHERE id = ANY(CAST(:ids AS uuid[]))
    UNION ALL
    SELECT id, bill_id, request_hash FROM payments
    WHERE bill_id = ANY(CAST(:bills AS uuid[]))
      AND state IN ('accepted', 'authorized', 'applied', 'succeeded', 'partially_refunded')
""")
# One statement for whatever was decided. A row that comes back is ours; one that does not lost a race.
_INSERT = text("""
    INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, funding,
        payment_method, request_hash, state, captured_minor, version, reason, correlation_id, next_attempt_at,
        authorized_at, finished_at)
    SELECT id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency,
        CASE WHEN payment_method IS NULL THEN 'wallet' ELSE 'psp' END, payment_method, request_hash, state,
        CASE WHEN state = 'succeeded' THEN amount_minor ELSE 0 END, 1, reason, correlation_id,
        CASE WHEN state IN ('accepted', 'authorized') THEN CAST(:resume_at AS timestamptz) END,
        CASE WHEN state = 'authorized' THEN CAST(:now AS timestamptz) END,
        CASE WHEN state IN ('succeeded', 'rejected') THEN CAST(:now AS timestamptz) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:payers AS text[]), CAST(:bills AS uuid[]),
        CAST(:billers AS text[]), CAST(:accounts AS uuid[]), CAST(:amounts AS bigint[]), CAST(:currencies AS text[]),
        CAST(:methods AS text[]), CAST(:hashes AS bytea[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
        CAST(:correlations AS text[])
    ) AS p (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, payment_method,
        request_hash, state, reason, correlation_id)
    ON CONFLICT DO NOTHING
    RETURNING id
""")
assert HOLDS_BILL == (
    State.ACCEPTED,
    State.AUTHORIZED,
    State.APPLIED,
    State.SUCCEEDED,
    State.PARTIALLY_REFUNDED,
), "_KNOWN and the partial unique index name the same states"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of a batch: payments to ask for outside, and the commands whose id belongs to another payment."""

    open: list[Payment]
    reused: list[UUID]
    finished: int


@dataclass(frozen=True, slots=True)
class _Decision:
    payment: Payment
    request_hash: bytes


async def accept(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[PayBill]],
    resume_after: timedelta,
) -> Accepted:
    """Accept a batch in the caller's transaction. A command that was accepted before changes nothing.

    `resume_after`: when the timer may take up what stays open, should this process die.
    """
    now = datetime.now(UTC)
    fresh, reused, taken = await _sort_out(connection, instructions)
    bills = await find_bills(connection, [each.command.bill_id for each in fresh])
    limits = await payment_limits(connection)
    decided: list[_Decision] = []
    for each in fresh:
        command = each.command
        bill = bills.get(command.bill_id)
        reason = reason_against(command, bill, limits, now)
        if reason is None and command.bill_id in taken:
            reason = "bill_already_paid"
        if reason is None:
            taken.add(command.bill_id)
        decided.append(_decide(each, bill, reason, now))
    account_ids = await _fund(connection, decided)
    won = await _insert(connection, decided, now, now + resume_after)
    lost = [each for each in decided if each.payment.id not in won]
    if lost:
        # Another worker took the bill between our look and our insert, or accepted the very same payment.
        lost = [_reject(each, "bill_already_paid") for each in lost]
        won_late = await _insert(connection, lost, now, now)
        decided = [each for each in decided if each.payment.id in won]
        decided += [each for each in lost if each.payment.id in won_late]
    payments = [each.payment for each in decided]
    await _settle(connection, payments, account_ids, now)
    open_payments = [p for p in payments if p.state in {State.ACCEPTED, State.AUTHORIZED}]
    return Accepted(open_payments, reused, len(payments) - len(open_payments))


def hash_of(command: PayBill) -> bytes:
    """What makes two commands the same: everything but the id. 16 bytes are enough to tell a mistake."""
    said = (
        command.channel,
        command.payer,
        str(command.bill_id),
        str(command.amount_minor),
        command.currency,
        payment_method_of(command) or "",
    )
    return hashlib.blake2b("\n".join(said).encode(), digest_size=16).digest()


async def _sort_out(
    connection: AsyncConnection, instructions: Sequence[Instruction[PayBill]]
) -> tuple[list[Instruction[PayBill]], list[UUID], set[UUID]]:
    # Fresh commands, ids that are reused with other content, and bills that a live payment holds.
    rows = await connection.execute(
        _KNOWN,
        {
            "ids": [each.command.payment_id for each in instructions],
            "bills": [each.command.bill_id for each in instructions],
        },
    )
    known: dict[UUID, bytes] = {}
    taken: set[UUID] = set()
    for row in rows:
        known[row.id] = row.request_hash
        taken.add(row.bill_id)
    fresh: list[Instruction[PayBill]] = []
    reused: list[UUID] = []
    for each in instructions:
        command = each.command
        before = known.get(command.payment_id)
        if before is None:
            known[command.payment_id] = hash_of(command)
            fresh.append(each)
        elif before != hash_of(command):
            reused.append(command.payment_id)
    return fresh, reused, taken


def _decide(
    instruction: Instruction[PayBill], bill: Bill | None, reason: str | None, now: datetime
) -> _Decision:
    command = instruction.command
    method = payment_method_of(command)
    if reason:
        state = State.REJECTED
    elif method:
        state = State.ACCEPTED
    else:
        assert bill is not None
        state = State.SUCCEEDED if bill.settled_by == "file" else State.AUTHORIZED
    payment = Payment(
        id=command.payment_id,
        channel=command.channel,
        payer=command.payer,
        bill=bill or Bill.unknown(command.bill_id, now),
        amount_minor=command.amount_minor,
        currency=command.currency,
        payment_method=method,
        state=state,
        version=1,
        created_at=now,
        reason=reason,
        correlation_id=instruction.correlation_id,
        traceparent=instruction.traceparent,
    )
    return _Decision(payment, hash_of(command))


def _reject(decision: _Decision, reason: str) -> _Decision:
    payment = replace(decision.payment, state=State.REJECTED, reason=reason)
    return replace(decision, payment=payment)


async def _fund(connection: AsyncConnection, decided: list[_Decision]) -> ledger.AccountIds:
    # Wallets are locked here and stay locked; a payment that its wallet can't pay becomes rejected in the list.
    paying = {
        index: ledger.wallet(each.payment.channel, each.payment.payer, each.payment.currency)
        for index, each in enumerate(decided)
        if each.payment.state in {State.AUTHORIZED, State.SUCCEEDED}
    }
    payables = {
        ledger.payable(decided[index].payment.bill.biller_id, account.currency)
        for index, account in paying.items()
    }
    ids = await ledger.find_accounts(connection, [*paying.values(), *payables])
    wallets = {ids[account] for account in paying.values() if account in ids}
    available = await ledger.lock_available(connection, list(wallets))
    for index, account in paying.items():
        id = ids.get(account, 0)
        left = available.get(id, 0) - decided[index].payment.amount_minor
        if left < 0:
            decided[index] = _reject(decided[index], "insufficient_funds")
        else:
            available[id] = left
    return ids


async def _insert(
    connection: AsyncConnection, decided: Sequence[_Decision], now: datetime, resume_at: datetime
) -> set[UUID]:
    if not decided:
        return set()
    # In the order of the bills, so that two workers never wait for each other's bills in a circle.
    rows = [(each.payment, each.request_hash) for each in sorted(decided, key=_bill_id)]
    inserted = await connection.execute(
        _INSERT,
        {
            "now": now,
            "resume_at": resume_at,
            "ids": [p.id for p, _ in rows],
            "channels": [p.channel for p, _ in rows],
            "payers": [p.payer for p, _ in rows],
            "bills": [p.bill.id for p, _ in rows],
            "billers": [p.bill.biller_id or None for p, _ in rows],
            "accounts": [p.bill.account_id if p.bill.biller_id else None for p, _ in rows],
            "amounts": [p.amount_minor for p, _ in rows],
            "currencies": [p.currency for p, _ in rows],
            "methods": [p.payment_method for p, _ in rows],
            "hashes": [request_hash for _, request_hash in rows],
            "states": [p.state.value for p, _ in rows],
            "reasons": [p.reason for p, _ in rows],
            "correlations": [p.correlation_id for p, _ in rows],
        },
    )
    return set(inserted.scalars())


def _bill_id(decision: _Decision) -> UUID:
    return decision.payment.bill.id


async def _settle(
    connection: AsyncConnection,
    payments: Sequence[Payment],
    ids: ledger.AccountIds,
    now: datetime,
) -> None:
    # What is finished gets its transfer, receipt and events; what is set aside its hold.
    finished = [each for each in payments if each.state == State.SUCCEEDED]
    if finished:
        payables = {ledger.payable(each.bill.biller_id, each.currency) for each in finished}
        if missing := payables - ids.keys():
            ids = {**ids, **await ledger.open_accounts(connection, missing)}
    await ledger.set_aside(
        connection,
        [
            ledger.Hold(each.id, ids[_wallet(each)], each.amount_minor)
            for each in payments
            if each.state == State.AUTHORIZED
        ],
    )
    transfers = [
        ledger.pay_bill(each.id, _wallet(each), each.bill.biller_id, each.amount_minor, now)
        for each in finished
    ]
    await ledger.post(connection, transfers, ids)
    numbers = await receipts.issue(connection, [new_receipt(each, now) for each in finished])
    outgoing: list[Outgoing] = []
    for each, number in zip(finished, numbers, strict=True):
        outgoing += announce.succeeded(each, each.version, number, now)
    for each in payments:
        if each.state == State.REJECTED:
            assert each.reason
            outgoing.append(announce.failed(each, each.version, "rejected", each.reason))
        elif each.state != State.SUCCEEDED:
            outgoing.append(announce.accepted(each))
    await enqueue(connection, outgoing)


def new_receipt(payment: Payment, at: datetime) -> receipts.NewReceipt:
    """What the receipt of this payment says."""
    return receipts.NewReceipt(
        payment_id=payment.id,
        biller_id=payment.bill.biller_id,
        account_id=payment.bill.account_id,
        bill_number=payment.bill.bill_number,
        period=payment.bill.period,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        issued_at=at,
    )


def _wallet(payment: Payment) -> ledger.Account:
    return ledger.wallet(payment.channel, payment.payer, payment.currency)

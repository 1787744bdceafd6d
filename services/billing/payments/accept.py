"""Accept payments: the first transaction, a batch at a time.

Each command is checked against its bill, the biller's rule and the channel's limits, and wallet money is set aside. A
payment that needs no external call (paid from the wallet, to a biller that settles by file) is finished right here,
with transfer, receipt and events; the others are returned for their external calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from chassis.database import as_asyncpg_uuid
from errands import Booking, FirstLeg
from events.payments import PayBill
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.bills import Bill, find_bills
from services.billing.channels import Limits, payment_limits
from services.billing.instruction import Instruction, sort_out
from services.billing.payments import events
from services.billing.payments.insert import Decision, LostRaceError, insert
from services.billing.payments.model import Payment, fingerprint_of, payment_method_of
from services.billing.payments.tables import HOLDS_ITS_BILL, OPEN, State
from services.billing.subject import Kind

_KNOWN = text(f"""
    SELECT id, bill_id, request_hash, {HOLDS_ITS_BILL} AS holds_its_bill FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[]))
    UNION ALL
    SELECT id, bill_id, request_hash, true FROM payments
    WHERE bill_id = ANY(CAST(:bills AS uuid[])) AND {HOLDS_ITS_BILL}
""")  # noqa: S608 - the states are our own constants
# As _payment() decides: wallet payments are finished here or their amount is set aside.
_FROM_WALLET = (State.AUTHORIZED, State.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of a batch: payments that have a place at an institution, payments that wait for one, and positions
    whose id stands for another payment."""

    held: list[Payment]
    waiting: list[Payment]
    reused: list[int]


async def accept(
    connection: AsyncConnection, instructions: Sequence[Instruction[PayBill]], booking: Booking
) -> Accepted:
    """Accept a batch in the caller's transaction. A command that was accepted before changes nothing.

    `booking` gives places at the institutions that are called next; a payment without a place is claimed from the table
    later. Raises LostRaceError: the caller rolls back and accepts the batch again. Locks are taken in one order
    everywhere: bills of new payments, wallets, existing payments, refunds, errands, other ledger accounts (decision 8).
    """
    now = datetime.now(UTC)
    fingerprints = [fingerprint_of(each.command) for each in instructions]
    # Converted once: each id is hashed, formatted and written a dozen times from here on.
    ids = [as_asyncpg_uuid(each.command.payment_id) for each in instructions]
    known, taken_bills = await _read_known(connection, ids, instructions)
    fresh, reused = sort_out(ids, fingerprints, known)
    if not fresh:
        return Accepted([], [], reused)
    new = [(ids[position], instructions[position]) for position in fresh]
    payments = await _decide(connection, new, taken_bills, now)
    decided = [Decision(each, fingerprints[n]) for each, n in zip(payments, fresh, strict=True)]
    accounts = await _check_wallets(connection, decided)
    await insert(connection, decided, now)
    payments = [each.payment for each in decided]
    unfinished = {each.id: each for each in payments if each.state in OPEN}
    calls = [FirstLeg(each.id, *each.first_call) for each in unfinished.values()]
    booked = await errands.book(connection, booking, Kind.PAYMENT, calls)
    await _issue_receipts_and_enqueue_events(connection, payments, now)
    await _move_wallet_money(connection, payments, accounts, now)
    held, waiting = (
        [unfinished[id]._replace(errand=errand) for id, errand in some.items()] for some in booked
    )
    return Accepted(held, waiting, reused)


async def _decide(
    connection: AsyncConnection,
    new: Sequence[tuple[UUID, Instruction[PayBill]]],
    taken_bills: set[UUID],
    now: datetime,
) -> list[Payment]:
    # `taken_bills`: bills that a live payment holds; bills that are paid here are added.
    bills = await find_bills(connection, [instruction.command.bill_id for _, instruction in new])
    limits = await payment_limits(connection)
    payments: list[Payment] = []
    for id, instruction in new:
        bill_id = instruction.command.bill_id
        bill = bills.get(bill_id)
        reason = reason_against(instruction.command, bill, limits)
        if reason is None and bill_id in taken_bills:
            reason = "bill_already_paid"
        if reason is None:
            taken_bills.add(bill_id)
        payments.append(_payment(id, instruction, bill, reason, now))
    return payments


def reason_against(command: PayBill, bill: Bill | None, limits: Limits) -> str | None:
    """Return the code of the reason why a payment may not begin, or None. The stored bill sets the amount rule."""
    limit = limits.get(command.channel)
    if limit is None:
        return "channel_unknown"
    if bill is None:
        return "bill_unknown"
    reason = bill.reason_against(command.amount_minor, command.currency)
    return reason or ("above_limit" if command.amount_minor > limit else None)


async def _read_known(
    connection: AsyncConnection, ids: list[UUID], instructions: Sequence[Instruction[PayBill]]
) -> tuple[dict[UUID, bytes], set[UUID]]:
    # The payments stored under these ids, and the bills that a live payment holds.
    parameters = {"ids": ids, "bills": [each.command.bill_id for each in instructions]}
    rows = await connection.execute(_KNOWN, parameters)
    known: dict[UUID, bytes] = {}
    taken_bills: set[UUID] = set()
    for row in rows:
        known[row.id] = row.request_hash
        if row.holds_its_bill:
            taken_bills.add(row.bill_id)
    return known, taken_bills


def _payment(
    id: UUID,
    instruction: Instruction[PayBill],
    bill: Bill | None,
    reason: str | None,
    now: datetime,
) -> Payment:
    command = instruction.command
    method = payment_method_of(command)
    if reason:
        state = State.REJECTED
    elif method:
        state = State.ACCEPTED
    else:
        assert bill is not None
        state = State.SUCCEEDED if bill.settled_by == "file" else State.AUTHORIZED
    return Payment(
        id=id,
        channel=command.channel,
        payer=command.payer,
        bill=bill or Bill.unknown(command.bill_id, now),
        amount_minor=command.amount_minor,
        currency=command.currency,
        payment_method=method,
        state=state,
        created_at=now,
        reason=reason,
        correlation_id=instruction.correlation_id,
        traceparent=instruction.traceparent,
    )


async def _check_wallets(connection: AsyncConnection, decided: list[Decision]) -> ledger.AccountIds:
    # A payment that its wallet cannot pay becomes rejected in the list. Nothing is locked yet:
    # _move_wallet_money moves the money between the accounts whose ids are returned.
    paying = {
        index: each.payment.wallet
        for index, each in enumerate(decided)
        if each.payment.state in _FROM_WALLET
    }
    payables = {
        ledger.payable(each.payment.bill.biller_id, each.payment.currency)
        for each in decided
        if each.payment.state is State.SUCCEEDED
    }
    # A wallet that was never topped up does not exist; its balance is zero.
    accounts = await ledger.find_accounts(connection, payables.union(paying.values()))
    available = {account: each.available_minor for account, each in accounts.items()}
    for index, account in paying.items():
        left = available.get(account, 0) - decided[index].payment.amount_minor
        if left < 0:
            payment = decided[index].payment
            payment = payment._replace(state=State.REJECTED, reason="insufficient_funds")
            decided[index] = decided[index]._replace(payment=payment)
        else:
            available[account] = left
    return {account: each.id for account, each in accounts.items()}


async def _issue_receipts_and_enqueue_events(
    connection: AsyncConnection, payments: Sequence[Payment], now: datetime
) -> None:
    # Receipts for finished payments, and the first events of all payments.
    finished = [each for each in payments if each.state == State.SUCCEEDED]
    numbers = await receipts.issue(connection, [new_receipt(each, now) for each in finished])
    outgoing: list[Outgoing] = []
    for each, number in zip(finished, numbers, strict=True):
        outgoing += events.succeeded(each, 1, number, now)
    for each in payments:
        if each.state == State.REJECTED:
            assert each.reason
            outgoing.append(events.failed(each, 1, "rejected", each.reason))
        elif each.state != State.SUCCEEDED:
            outgoing.append(events.accepted(each))
    await enqueue(connection, outgoing)


async def _move_wallet_money(
    connection: AsyncConnection,
    payments: Sequence[Payment],
    accounts: ledger.AccountIds,
    now: datetime,
) -> None:
    # Last, so that wallets and billers, which other batches pay from and to as well, are locked for a moment only.
    authorized = [each for each in payments if each.state is State.AUTHORIZED]
    holds = [ledger.Hold(each.id, accounts[each.wallet], each.amount_minor) for each in authorized]
    set_aside = await ledger.set_aside(connection, holds)
    transfers = [
        ledger.pay_bill(each.id, each.wallet, each.bill.biller_id, each.amount_minor, now)
        for each in payments
        if each.state is State.SUCCEEDED
    ]
    try:
        await ledger.post(connection, transfers, set_aside, accounts)
    except ledger.OverdrawnError as error:
        raise LostRaceError("a wallet was spent from after its balance was read") from error


def new_receipt(payment: Payment, at: datetime) -> receipts.NewReceipt:
    """Return the content of this payment's receipt."""
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

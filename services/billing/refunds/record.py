"""Record the results of refunds: payment, ledger, receipt and events change together."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Key
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.outside.calls import record_calls
from services.billing.outside.cases import NewCase, open_cases
from services.billing.outside.recording import cases_of, furthest_results, is_held, record_errands
from services.billing.payments import refundable
from services.billing.payments.refundable import BookedPayment, RefundSums
from services.billing.refunds import events
from services.billing.refunds.model import Outcome, RefundProgress
from services.billing.refunds.tables import ENDED, IS_OPEN, RefundState
from services.billing.subject import Kind

# A number for each state, higher for further.
_RANKS: dict[str, int] = {
    RefundState.ACCEPTED: 0,
    RefundState.UNAPPLIED: 1,
    RefundState.SUCCEEDED: 2,
    RefundState.FAILED: 2,
}

_LOCK_REFUNDS = text(f"""
    SELECT id, state FROM refunds
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN} ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608 - the states are our own constants
_UPDATE = text("""
    UPDATE refunds r
    SET state = n.state, psp_refund_id = coalesce(n.psp_refund_id, r.psp_refund_id), reason = n.reason,
        finished_at = CASE WHEN n.ended THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:psp_ids AS text[]), CAST(:reasons AS text[]),
        CAST(:ended AS bool[])) AS n (id, state, psp_refund_id, reason, ended)
    WHERE r.id = n.id
""")
_STORE_ATTEMPTS = text("""
    UPDATE refunds r SET attempt = n.attempt
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS n (id, attempt) WHERE r.id = n.id
""")
_STILL_OPEN = text(f"""
    SELECT id FROM refunds WHERE payment_id = ANY(CAST(:payments AS uuid[])) AND {IS_OPEN}
""")  # noqa: S608 - the states are our own constants


async def record_refunds(connection: AsyncConnection, results: Sequence[RefundProgress]) -> int:
    """Record these results in the caller's transaction; return how many of them changed something."""
    now = datetime.now(UTC)
    await record_calls(connection, results)
    # Wallets, payments, refunds: in this order everywhere.
    wallets = {each.refund.wallet for each in results if each.refund.wallet}
    await ledger.lock_accounts(connection, wallets)
    await refundable.lock(connection, [each.refund.payment_id for each in results])
    rows = await connection.execute(_LOCK_REFUNDS, {"ids": [each.refund.id for each in results]})
    locked = await errands.lock(connection, [each.refund.errand for each in results])
    steps = _steps(results, rows.all(), locked)
    ended = [each for each in steps if each.state in ENDED]
    await record_errands(connection, results, locked, [each.subject for each in ended])
    if not steps:
        return 0
    await _update(connection, steps)
    await open_cases(
        connection, [case for each in steps for case in cases_of(each, locked, "refund")]
    )
    stuck = [each for each in steps if each.stuck and is_held(locked, each.refund.errand)]
    await _end_stuck(connection, stuck)
    await finish_refunds(connection, ended, now)
    await _make_waiting_due(connection, ended)
    return len(steps)


def _steps(
    results: Sequence[RefundProgress], rows: Sequence[Row[Any]], locked: Mapping[Key, Row[Any]]
) -> list[RefundProgress]:
    # After the biller has taken its mark back a refund cannot fail: the money must go back.
    may_fail = {row.id for row in rows if row.state == RefundState.ACCEPTED}
    possible = [
        each for each in results if each.state != RefundState.FAILED or each.refund.id in may_fail
    ]
    superseding = furthest_results(possible, rows, locked, _RANKS, (RefundState.FAILED,))
    return [progress for progress, _ in superseding]


async def _end_stuck(connection: AsyncConnection, stuck: Sequence[RefundProgress]) -> None:
    # The PSP repeats its refusal under the same key, so more calls are useless. An operator ends these refunds
    # (stuck.py).
    if not stuck:
        return
    await errands.end(connection, [each.subject for each in stuck])
    attempts = {
        "ids": [each.refund.id for each in stuck],
        "attempts": [each.run.attempt for each in stuck],
    }
    await connection.execute(_STORE_ATTEMPTS, attempts)
    note = (
        "the biller has marked the bill unpaid, and the PSP refuses to refund the money: {0}. Run `meterhall refunds"
        " retry {1}` to call the PSP again, or `meterhall refunds to-wallet {1}` to pay the payer's wallet"
    )
    cases = [
        NewCase(each.subject, "refund_stuck", note.format(each.stuck, each.refund.id))
        for each in stuck
    ]
    await open_cases(connection, cases)


async def _make_waiting_due(connection: AsyncConnection, ended: Sequence[RefundProgress]) -> None:
    # The refund that completes a payment waits for those before it.
    if ended:
        payments = list({each.refund.payment_id for each in ended})
        waiting = await connection.execute(_STILL_OPEN, {"payments": payments})
        await errands.make_due(connection, [(Kind.REFUND, id) for id in waiting.scalars()])


async def finish_refunds(
    connection: AsyncConnection, ended: Sequence[Outcome], now: datetime
) -> None:
    """Book refunds that have succeeded or failed on their payments, which are locked."""
    if not ended:
        return
    payments = await _book_on_payments(connection, ended)
    succeeded = [each for each in ended if each.state == RefundState.SUCCEEDED]
    if succeeded:
        transfers = [_transfer(each, payments[each.refund.payment_id], now) for each in succeeded]
        await ledger.post(connection, transfers)
    voided: dict[UUID, str] = {}
    ends: tuple[Literal["refunded", "reversed"], ...] = ("refunded", "reversed")
    for end in ends:
        complete = {id: row.finished_at for id, row in payments.items() if row.state == end}
        voided |= await receipts.void(connection, complete, end)
    await enqueue(connection, _events(ended, payments, voided))


async def _update(connection: AsyncConnection, steps: Sequence[RefundProgress]) -> None:
    await connection.execute(
        _UPDATE,
        {
            "ids": [each.refund.id for each in steps],
            "states": [each.state for each in steps],
            "psp_ids": [each.psp_refund_id for each in steps],
            "reasons": [each.reason for each in steps],
            "ended": [each.state in ENDED for each in steps],
        },
    )


async def _book_on_payments(
    connection: AsyncConnection, ended: Sequence[Outcome]
) -> dict[UUID, BookedPayment]:
    sums: dict[UUID, RefundSums] = {}
    for each in ended:
        payment_sums = sums.setdefault(each.refund.payment_id, RefundSums())
        payment_sums.events += 1
        if each.state == RefundState.SUCCEEDED:
            payment_sums.done_minor += each.refund.amount_minor
            payment_sums.reversed |= each.refund.reversal
        elif each.refund.reserved:
            payment_sums.failed_minor += each.refund.amount_minor
    return await refundable.book_refunds(connection, sums)


def _transfer(progress: Outcome, payment: BookedPayment, now: datetime) -> ledger.Transfer:
    wallet = ledger.wallet(payment.channel, payment.payer, payment.currency)
    source = ledger.psp_clearing(payment.currency) if payment.funding == "psp" else wallet
    paid = ledger.pay_bill(
        payment.id, source, payment.biller_id, payment.amount_minor, payment.finished_at
    )
    refund = progress.refund
    assert refund.transfer_id is not None
    if refund.to_wallet:
        return ledger.refund_to_wallet(refund.transfer_id, paid, wallet, refund.amount_minor, now)
    return ledger.refund(refund.transfer_id, paid, refund.amount_minor, now)


def _events(
    ended: Sequence[Outcome], payments: dict[UUID, BookedPayment], voided: dict[UUID, str]
) -> list[Outgoing]:
    # The payment's version and refunded amount include all refunds of this batch: undo them, then count up event by
    # event.
    versions = {id: row.version for id, row in payments.items()}
    refunded = {id: row.refunded_minor for id, row in payments.items()}
    for each in ended:
        versions[each.refund.payment_id] -= 1
        if each.state == RefundState.SUCCEEDED:
            refunded[each.refund.payment_id] -= each.refund.amount_minor
    outgoing: list[Outgoing] = []
    for each in ended:
        refund, payment = each.refund, payments[each.refund.payment_id]
        versions[payment.id] += 1
        if each.state == RefundState.SUCCEEDED:
            refunded[payment.id] += refund.amount_minor
        event = events.refund_ended(each, payment, refunded[payment.id])
        outgoing.append(
            Outgoing.of(event, versions[payment.id], correlation_id=refund.correlation_id)
        )
    for id, number in voided.items():
        receipt = events.receipt_voided(payments[id], number)
        outgoing.append(Outgoing.of(receipt, 2, correlation_id=payments[id].correlation_id))
    return outgoing

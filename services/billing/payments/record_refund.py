"""Record what became of refunds: the payment, the ledger, the receipt and the events move together."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.payments import PaymentRefunded, RefundFailed
from events.receipts import ReceiptVoided
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.payments.record import open_cases, record_calls, retry_at
from services.billing.payments.refund import RefundProgress

_LOCK_PAYMENTS = text("""
    SELECT id FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
_LOCK_REFUNDS = text("""
    SELECT id, version FROM refunds
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('accepted', 'unapplied') ORDER BY id FOR NO KEY UPDATE
""")
_UPDATE = text("""
    UPDATE refunds r
    SET state = n.state, version = r.version + 1, psp_refund_id = n.psp_refund_id, unknown_leg = n.leg,
        unknown_since = CASE WHEN n.leg IS NULL THEN NULL ELSE coalesce(r.unknown_since, now()) END,
        reason = n.reason, next_attempt_at = n.next_at,
        finished_at = CASE WHEN n.state IN ('succeeded', 'failed') THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:psp_ids AS text[]), CAST(:legs AS text[]),
        CAST(:reasons AS text[]), CAST(:nexts AS timestamptz[])) AS n (id, state, psp_refund_id, leg, reason, next_at)
    WHERE r.id = n.id
""")
# Set-based over payments, so several refunds of one payment in a batch are summed first.
_MOVE = text("""
    UPDATE payments p
    SET refund_pending_minor = p.refund_pending_minor - s.done - s.failed,
        refunded_minor = p.refunded_minor + s.done,
        version = p.version + s.events,
        state = CASE WHEN p.refunded_minor + s.done = p.captured_minor THEN 'refunded'
                     WHEN p.refunded_minor + s.done > 0 THEN 'partially_refunded' ELSE p.state END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:done AS bigint[]), CAST(:failed AS bigint[]), CAST(:events AS int[]))
        AS s (id, done, failed, events)
    WHERE p.id = s.id
    RETURNING p.id, p.channel_id, p.payer, p.bill_id, p.biller_id, p.amount_minor, p.currency, p.funding, p.version,
        p.state, p.refunded_minor, p.correlation_id, p.finished_at
""")


async def record_refunds(connection: AsyncConnection, results: Sequence[RefundProgress]) -> int:
    """Record these results in the caller's transaction; how many of them were still to be recorded."""
    now = datetime.now(UTC)
    await record_calls(
        connection, [(each.refund.id, call) for each in results for call in each.calls]
    )
    # The payment before its refunds, as everywhere.
    payment_ids = sorted({each.refund.payment_id for each in results})
    await connection.execute(_LOCK_PAYMENTS, {"ids": payment_ids})
    rows = await connection.execute(_LOCK_REFUNDS, {"ids": [each.refund.id for each in results]})
    versions = {row.id: row.version for row in rows}
    current = [each for each in results if versions.get(each.refund.id) == each.refund.version]
    if not current:
        return 0
    await _update(connection, current, now)
    await open_cases(
        connection, [(each.refund.id, "refund", each.case) for each in current if each.case]
    )
    ended = [each for each in current if each.state in {"succeeded", "failed"}]
    await finish(connection, ended, now)
    return len(current)


async def finish(
    connection: AsyncConnection, ended: Sequence[RefundProgress], now: datetime
) -> None:
    """Move the payments of refunds that have succeeded or failed; the payments are locked."""
    if not ended:
        return
    payments = await _move(connection, ended)
    succeeded = [each for each in ended if each.state == "succeeded"]
    transfers = [_transfer(each, payments[each.refund.payment_id], now) for each in succeeded]
    ids = await ledger.open_accounts(
        connection, [account for each in transfers for account in (each.debit, each.credit)]
    )
    await ledger.post(connection, transfers, ids)
    complete = [id for id, row in payments.items() if row.state == "refunded"]
    voided = await receipts.void(connection, complete, "refunded")
    await enqueue(connection, _events(ended, payments, voided))


async def _update(
    connection: AsyncConnection, current: Sequence[RefundProgress], now: datetime
) -> None:
    await connection.execute(
        _UPDATE,
        {
            "ids": [each.refund.id for each in current],
            "states": [each.state for each in current],
            "psp_ids": [each.psp_refund_id for each in current],
            "legs": [each.unknown_leg for each in current],
            "reasons": [each.reason for each in current],
            "nexts": [
                retry_at(now, each.refund.attempts) if each.unknown_leg else None
                for each in current
            ],
        },
    )


async def _move(
    connection: AsyncConnection, ended: Sequence[RefundProgress]
) -> dict[UUID, Row[Any]]:
    sums: dict[UUID, list[int]] = {}
    for each in ended:
        sums.setdefault(each.refund.payment_id, [0, 0, 0])
        done_failed_events = sums[each.refund.payment_id]
        if each.refund.reserved:
            done_failed_events[0 if each.state == "succeeded" else 1] += each.refund.amount_minor
        done_failed_events[2] += 1
    rows = await connection.execute(
        _MOVE,
        {
            "ids": list(sums),
            "done": [done for done, _, _ in sums.values()],
            "failed": [failed for _, failed, _ in sums.values()],
            "events": [events for _, _, events in sums.values()],
        },
    )
    return {row.id: row for row in rows}


def _transfer(progress: RefundProgress, payment: Row[Any], now: datetime) -> ledger.Transfer:
    source = (
        ledger.psp_clearing(payment.currency)
        if payment.funding == "psp"
        else ledger.wallet(payment.channel_id, payment.payer, payment.currency)
    )
    paid = ledger.pay_bill(
        payment.id, source, payment.biller_id, payment.amount_minor, payment.finished_at
    )
    return ledger.refund(progress.refund.id, paid, progress.refund.amount_minor, now)


def _events(
    ended: Sequence[RefundProgress], payments: dict[UUID, Row[Any]], voided: dict[UUID, str]
) -> list[Outgoing]:
    # The payment's version has moved by the number of its refunds here: count up to it again.
    versions: dict[UUID, int] = {}
    refunded: dict[UUID, int] = {}
    for each in ended:
        id = each.refund.payment_id
        versions.setdefault(id, payments[id].version)
        versions[id] -= 1
        if each.state == "succeeded":
            refunded[id] = refunded.get(id, payments[id].refunded_minor) - each.refund.amount_minor
    said: list[Outgoing] = []
    for each in ended:
        refund, payment = each.refund, payments[each.refund.payment_id]
        versions[payment.id] += 1
        about = {
            "payment_id": payment.id,
            "channel": payment.channel_id,
            "payer": payment.payer,
            "bill_id": payment.bill_id,
            "biller_id": payment.biller_id,
            "amount_minor": payment.amount_minor,
            "currency": payment.currency,
            "refund_id": refund.id,
            "refund_minor": refund.amount_minor,
        }
        event: PaymentRefunded | RefundFailed
        if each.state == "succeeded":
            refunded[payment.id] += refund.amount_minor
            event = PaymentRefunded(**about, refunded_minor=refunded[payment.id])
        else:
            event = RefundFailed(**about, reason=each.reason or "refused")
        said.append(Outgoing.of(event, versions[payment.id], correlation_id=refund.correlation_id))
    for id, number in voided.items():
        payment = payments[id]
        receipt = ReceiptVoided(
            payment_id=id,
            receipt_number=number,
            channel=payment.channel_id,
            payer=payment.payer,
            reason="refunded",
        )
        said.append(Outgoing.of(receipt, 2, correlation_id=payment.correlation_id))
    return said

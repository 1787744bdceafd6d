"""Record what became of refunds: the payment, the ledger, the receipt and the events move together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from services.billing.outside.recording import case_of, is_held, is_news, record_errands
from services.billing.refunds import events
from services.billing.refunds.model import Outcome, RefundProgress
from services.billing.subject import Kind

# How far each state is. A refund whose mark was taken back can't fail any more: its money must go.
_RANKS = {"accepted": 0, "unapplied": 1, "succeeded": 2, "failed": 2}
_ENDED = ("succeeded", "failed")

_LOCK_PAYMENTS = text("""
    SELECT id FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
_LOCK_REFUNDS = text("""
    SELECT id, state FROM refunds
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('accepted', 'unapplied') ORDER BY id FOR NO KEY UPDATE
""")
_UPDATE = text("""
    UPDATE refunds r
    SET state = n.state, psp_refund_id = coalesce(n.psp_refund_id, r.psp_refund_id), reason = n.reason,
        finished_at = CASE WHEN n.ended THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:psp_ids AS text[]), CAST(:reasons AS text[]),
        CAST(:ended AS bool[])) AS n (id, state, psp_refund_id, reason, ended)
    WHERE r.id = n.id
""")
_KEEP_ATTEMPTS = text("""
    UPDATE refunds r SET attempt = n.attempt
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS n (id, attempt) WHERE r.id = n.id
""")
_STILL_OPEN = text("""
    SELECT id FROM refunds WHERE payment_id = ANY(CAST(:payments AS uuid[])) AND state IN ('accepted', 'unapplied')
""")
# Set-based over payments, so several refunds of one payment in a batch are summed first.
_MOVE = text("""
    UPDATE payments p
    SET refund_pending_minor = p.refund_pending_minor - s.done - s.failed,
        refunded_minor = p.refunded_minor + s.done,
        version = p.version + s.events,
        state = CASE WHEN s.done = 0 THEN p.state
                     WHEN p.refunded_minor + s.done < p.captured_minor THEN 'partially_refunded'
                     WHEN s.reversed THEN 'reversed' ELSE 'refunded' END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:done AS bigint[]), CAST(:failed AS bigint[]), CAST(:events AS int[]),
        CAST(:reversed AS bool[])) AS s (id, done, failed, events, reversed)
    WHERE p.id = s.id
    RETURNING p.id, p.channel_id, p.payer, p.bill_id, p.biller_id, p.amount_minor, p.currency, p.funding, p.version,
        p.state, p.refunded_minor, p.correlation_id, p.finished_at
""")


async def record_refunds(connection: AsyncConnection, results: Sequence[RefundProgress]) -> int:
    """Record these results in the caller's transaction; how many of them told something new."""
    now = datetime.now(UTC)
    await record_calls(
        connection, [(each.refund.subject, call) for each in results for call in each.calls]
    )
    # Wallets, payments, refunds: in this order everywhere.
    wallets = {each.refund.wallet for each in results if each.refund.wallet}
    await ledger.lock_accounts(connection, wallets)
    payment_ids = sorted({each.refund.payment_id for each in results})
    await connection.execute(_LOCK_PAYMENTS, {"ids": payment_ids})
    rows = await connection.execute(_LOCK_REFUNDS, {"ids": [each.refund.id for each in results]})
    locked = await errands.lock(connection, [each.refund.errand for each in results])
    steps = _steps(results, rows.all(), locked)
    ended = [each for each in steps if each.state in _ENDED]
    await record_errands(connection, results, locked, [each.subject for each in ended])
    if not steps:
        return 0
    await _update(connection, steps)
    await open_cases(
        connection, [case for each in steps for case in case_of(each, locked, "refund")]
    )
    stuck = [each for each in steps if each.stuck and is_held(locked, each.refund.errand)]
    await _end_stuck(connection, stuck)
    await finish(connection, ended, now)
    await _wake(connection, ended)
    return len(steps)


def _steps(
    results: Sequence[RefundProgress], rows: Sequence[Row[Any]], locked: Mapping[Key, Row[Any]]
) -> list[RefundProgress]:
    # At most one step for each refund, the one that is furthest.
    found = {row.id: row for row in rows}
    steps: dict[UUID, RefundProgress] = {}
    for each in sorted(results, key=lambda each: _RANKS[each.state]):
        row = found.get(each.refund.id)
        if row is None or (each.state == "failed" and row.state != "accepted"):
            continue
        if is_news(
            _RANKS[each.state],
            _RANKS[row.state],
            held=is_held(locked, each.refund.errand),
            gives_up=each.state == "failed",
        ):
            steps[row.id] = each
    return list(steps.values())


async def _end_stuck(connection: AsyncConnection, stuck: Sequence[RefundProgress]) -> None:
    # Asking again with a key that is used up would go on for ever. A person ends them (stuck.py).
    if not stuck:
        return
    await errands.end(connection, [each.subject for each in stuck])
    attempts = {
        "ids": [each.refund.id for each in stuck],
        "attempts": [each.turn.attempt for each in stuck],
    }
    await connection.execute(_KEEP_ATTEMPTS, attempts)
    note = (
        "the biller has taken its mark back, and the PSP will not give the money back: {0}. End it by `meterhall"
        " refunds retry {1}` (the PSP is asked again) or `meterhall refunds to-wallet {1}` (the payer's wallet gets it)"
    )
    cases = [
        NewCase(each.subject, "refund_stuck", note.format(each.stuck, each.refund.id))
        for each in stuck
    ]
    await open_cases(connection, cases)


async def _wake(connection: AsyncConnection, ended: Sequence[RefundProgress]) -> None:
    # The refund that completes a payment waits for those before it.
    if ended:
        payments = list({each.refund.payment_id for each in ended})
        waiting = await connection.execute(_STILL_OPEN, {"payments": payments})
        await errands.make_due(connection, [(Kind.REFUND, id) for id in waiting.scalars()])


async def finish(connection: AsyncConnection, ended: Sequence[Outcome], now: datetime) -> None:
    """Move the payments of refunds that have succeeded or failed; the payments are locked."""
    if not ended:
        return
    payments = await _move(connection, ended)
    succeeded = [each for each in ended if each.state == "succeeded"]
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
            "ended": [each.state in _ENDED for each in steps],
        },
    )


async def _move(connection: AsyncConnection, ended: Sequence[Outcome]) -> dict[UUID, Row[Any]]:
    moves: dict[UUID, _Move] = {}
    for each in ended:
        move = moves.setdefault(each.refund.payment_id, _Move())
        move.events += 1
        if each.state == "succeeded":
            move.done_minor += each.refund.amount_minor
            move.reversed |= each.refund.reversal
        elif each.refund.reserved:
            move.failed_minor += each.refund.amount_minor
    rows = await connection.execute(
        _MOVE,
        {
            "ids": list(moves),
            "done": [each.done_minor for each in moves.values()],
            "failed": [each.failed_minor for each in moves.values()],
            "events": [each.events for each in moves.values()],
            "reversed": [each.reversed for each in moves.values()],
        },
    )
    return {row.id: row for row in rows}


def _transfer(progress: Outcome, payment: Row[Any], now: datetime) -> ledger.Transfer:
    wallet = ledger.wallet(payment.channel_id, payment.payer, payment.currency)
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
    ended: Sequence[Outcome], payments: dict[UUID, Row[Any]], voided: dict[UUID, str]
) -> list[Outgoing]:
    # The payment's version and its refunded amount have moved by all refunds here: count up to them again.
    versions = {id: row.version for id, row in payments.items()}
    refunded = {id: row.refunded_minor for id, row in payments.items()}
    for each in ended:
        versions[each.refund.payment_id] -= 1
        if each.state == "succeeded":
            refunded[each.refund.payment_id] -= each.refund.amount_minor
    said: list[Outgoing] = []
    for each in ended:
        refund, payment = each.refund, payments[each.refund.payment_id]
        versions[payment.id] += 1
        if each.state == "succeeded":
            refunded[payment.id] += refund.amount_minor
        event = events.refund_ended(each, payment, refunded[payment.id])
        said.append(Outgoing.of(event, versions[payment.id], correlation_id=refund.correlation_id))
    for id, number in voided.items():
        receipt = events.receipt_voided(payments[id], number)
        said.append(Outgoing.of(receipt, 2, correlation_id=payments[id].correlation_id))
    return said


@dataclass(slots=True)
class _Move:
    # What the refunds of one payment in a batch come to.
    done_minor: int = 0
    failed_minor: int = 0
    events: int = 0
    reversed: bool = False

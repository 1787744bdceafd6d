"""Record the results of external calls: the second transaction, a batch at a time, all or nothing.

The payment moves to its new state, its money is booked, its receipt issued and its events written together. A result
changes nothing when another process has recorded the same or more meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.outside.calls import record_calls
from services.billing.outside.cases import NewCase, open_cases
from services.billing.outside.recording import cases_of, furthest_results, record_errands
from services.billing.payments import events
from services.billing.payments.accept import new_receipt
from services.billing.payments.model import Progress
from services.billing.payments.tables import OPEN, State

# A number for each state, higher for further; all ends are equally far.
_RANKS: dict[str, int] = {s: OPEN.index(s) if s in OPEN else len(OPEN) for s in State}
_FAILURES = (State.VOIDED, State.DECLINED)

_LOCK = text("""
    SELECT id, state, version, action_url FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
_UPDATE = text(f"""
    UPDATE payments p
    SET state = r.state, version = r.version, psp_intent_id = coalesce(r.intent_id, p.psp_intent_id),
        action_url = r.action_url, reason = r.reason,
        authorized_at = coalesce(p.authorized_at, r.authorized_at),
        applied_at = coalesce(p.applied_at, r.applied_at),
        captured_minor = CASE WHEN r.state = '{State.SUCCEEDED}' THEN p.amount_minor ELSE 0 END,
        finished_at = CASE WHEN r.ended THEN CAST(:now AS timestamptz) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:versions AS int[]), CAST(:intents AS text[]),
        CAST(:urls AS text[]), CAST(:reasons AS text[]), CAST(:ended AS bool[]), CAST(:authorized AS timestamptz[]),
        CAST(:applied AS timestamptz[])
    ) AS r (id, state, version, intent_id, action_url, reason, ended, authorized_at, applied_at)
    WHERE p.id = r.id
""")  # noqa: S608 - the states are our own constants


@dataclass(frozen=True, slots=True)
class _Step:
    """A payment's progress over its locked row, with the version that it leads to and its event."""

    progress: Progress
    row: Row[Any]
    version: int
    event: Outgoing | None = None


async def record(connection: AsyncConnection, results: Sequence[Progress]) -> int:
    """Record these results in the caller's transaction; return how many of them changed something."""
    now = datetime.now(UTC)
    await record_calls(connection, results)
    # Wallets before payments, as everywhere.
    wallets = {each.payment.wallet for each in results if not each.payment.by_psp}
    await ledger.lock_accounts(connection, wallets)
    ids = [each.payment.id for each in results]
    rows = (await connection.execute(_LOCK, {"ids": ids})).all()
    locked = await errands.lock(connection, [each.payment.errand for each in results])
    open_rows = [row for row in rows if row.state in OPEN]
    furthest = furthest_results(results, open_rows, locked, _RANKS, _FAILURES)
    steps = [_step(progress, row) for progress, row in furthest]
    ended = [each.progress.subject for each in steps if each.progress.state not in OPEN]
    await record_errands(connection, results, locked, ended)
    await open_cases(connection, _contradictions(results, rows))
    if not steps:
        return 0
    await _update(connection, steps, now)
    succeeded = [each for each in steps if each.progress.state == State.SUCCEEDED]
    numbers = await _book(connection, [each.progress for each in succeeded], now)
    reached = [each.progress for each in steps]
    await _book_late_capture(connection, reached, now)
    voided = [each.progress.payment for each in steps if each.progress.state == State.VOIDED]
    await ledger.void(connection, [each.id for each in voided if not each.by_psp])
    cases = [cases_of(p, locked, p.run.leg if p.state in OPEN else "late_success") for p in reached]
    await open_cases(connection, [case for some in cases for case in some])
    outgoing = [step.event for step in steps if step.event]
    for each, number in zip(succeeded, numbers, strict=True):
        outgoing += events.succeeded(each.progress.payment, each.version, number, now)
    await enqueue(connection, outgoing)
    return len(steps)


def _contradictions(results: Sequence[Progress], rows: Sequence[Row[Any]]) -> list[NewCase]:
    # Two processes ended the payment in different ways. No institution should allow that, so it becomes a case.
    ended = {row.id: row.state for row in rows if row.state not in OPEN}
    return [
        NewCase(
            result.subject,
            "contradiction",
            f"recorded as {ended[result.payment.id]}, but another process found it {result.state}."
            " Compare the PSP's and the biller's records with ours, and agree with them on a correction",
        )
        for result in results
        if result.payment.id in ended
        and result.state not in OPEN
        and (result.state in _FAILURES) != (ended[result.payment.id] in _FAILURES)
    ]


def _step(progress: Progress, row: Row[Any]) -> _Step:
    payment, following = progress.payment, row.version + 1
    match progress.state:
        case State.SUCCEEDED:
            return _Step(progress, row, following)  # its event needs the receipt's number
        case State.VOIDED | State.DECLINED as state:
            assert progress.reason
            failed = events.failed(payment, following, state.value, progress.reason)
            return _Step(progress, row, following, failed)
        case _ if progress.action_url and progress.action_url != row.action_url:
            required = events.action_required(payment, following, progress.action_url)
            return _Step(progress, row, following, required)
    return _Step(progress, row, row.version)


async def _update(connection: AsyncConnection, steps: Sequence[_Step], now: datetime) -> None:
    rows = [each.progress for each in steps]
    await connection.execute(
        _UPDATE,
        {
            "now": now,
            "ids": [p.payment.id for p in rows],
            "states": [p.state.value for p in rows],
            "versions": [each.version for each in steps],
            "intents": [p.intent_id for p in rows],
            "urls": [p.action_url for p in rows],
            "reasons": [p.reason for p in rows],
            "ended": [p.state not in OPEN for p in rows],
            "authorized": [p.authorized_at for p in rows],
            "applied": [p.applied_at for p in rows],
        },
    )


async def _book(
    connection: AsyncConnection, succeeded: Sequence[Progress], now: datetime
) -> list[str]:
    # The money moves from where it was held to the biller's account, and the receipt is issued.
    if not succeeded:
        return []
    transfers = []
    for each in succeeded:
        payment = each.payment
        source = ledger.psp_clearing(payment.currency) if payment.by_psp else payment.wallet
        transfers.append(
            ledger.pay_bill(payment.id, source, payment.bill.biller_id, payment.amount_minor, now)
        )
    set_aside = [each.payment.id for each in succeeded if not each.payment.by_psp]
    released = await ledger.end_posted(connection, set_aside)
    await ledger.post(connection, transfers, released)
    return await receipts.issue(connection, [new_receipt(each.payment, now) for each in succeeded])


async def _book_late_capture(
    connection: AsyncConnection, results: Sequence[Progress], now: datetime
) -> None:
    # The PSP captured the money and, as a rule, gave it back; its statement will show both.
    transfers: list[ledger.Transfer] = []
    for each in results:
        payment = each.payment
        if each.given_back or each.kept_by_psp:
            taken, back = ledger.late_capture_and_return(
                payment.subject, payment.id, payment.amount_minor, payment.currency, now
            )
            transfers += [taken, back] if each.given_back else [taken]
    if transfers:
        await ledger.post(connection, transfers)

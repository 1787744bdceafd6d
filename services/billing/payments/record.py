"""Record what the outside calls brought: the second transaction, a batch at a time, all or nothing.

The payment moves to its new state, its money is booked, its receipt issued and its events written together. A payment
that somebody else has recorded meanwhile (its version moved on) is left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from messaging.outbox import Outgoing, enqueue
from services.billing import ledger, receipts
from services.billing.payments import announce
from services.billing.payments.accept import new_receipt
from services.billing.payments.model import Call, Progress
from services.billing.payments.tables import OPEN, State

# Asking again: 2 s, 4 s, 8 s … and then every 10 minutes for as long as it takes.
FIRST_RETRY = timedelta(seconds=2)
LONGEST_RETRY = timedelta(minutes=10)
# While a payer is confirming we look this often; the PSP's webhook usually comes first.
ACTION_POLL = timedelta(seconds=15)
# What nobody could say for this long becomes a case for finance ops; we go on asking.
CASE_AFTER = timedelta(hours=24)

_LOCK = text("""
    SELECT id, version FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('accepted', 'authorized', 'applied')
    ORDER BY id FOR NO KEY UPDATE
""")
_UPDATE = text("""
    UPDATE payments p
    SET state = r.state, version = r.version, psp_intent_id = r.intent_id, action_url = r.action_url,
        unknown_leg = r.unknown_leg,
        unknown_since = CASE WHEN r.unknown_leg IS NULL THEN NULL ELSE coalesce(p.unknown_since, :now) END,
        reason = r.reason, next_attempt_at = r.next_attempt_at,
        authorized_at = coalesce(p.authorized_at, r.authorized_at),
        applied_at = coalesce(p.applied_at, r.applied_at),
        captured_minor = CASE WHEN r.state = 'succeeded' THEN p.amount_minor ELSE 0 END,
        finished_at = CASE WHEN r.state IN ('accepted', 'authorized', 'applied') THEN NULL
                           ELSE CAST(:now AS timestamptz) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:versions AS int[]), CAST(:intents AS text[]),
        CAST(:urls AS text[]), CAST(:legs AS text[]), CAST(:reasons AS text[]), CAST(:nexts AS timestamptz[]),
        CAST(:authorized AS timestamptz[]), CAST(:applied AS timestamptz[])
    ) AS r (id, state, version, intent_id, action_url, unknown_leg, reason, next_attempt_at, authorized_at, applied_at)
    WHERE p.id = r.id
""")
_CALLS = text("""
    INSERT INTO outside_calls (subject, leg, outcome, detail, started_at, duration_ms)
    SELECT * FROM unnest(CAST(:subjects AS uuid[]), CAST(:legs AS text[]), CAST(:outcomes AS text[]),
        CAST(:details AS text[]), CAST(:started AS timestamptz[]), CAST(:durations AS int[]))
""")
_CASES = text("""
    INSERT INTO cases (subject, kind, note)
    SELECT * FROM unnest(CAST(:subjects AS uuid[]), CAST(:kinds AS text[]), CAST(:notes AS text[]))
    ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class _Step:
    """A payment's progress, with the version and the events that it leads to."""

    progress: Progress
    version: int
    said: tuple[Outgoing, ...] = ()


async def record(connection: AsyncConnection, results: Sequence[Progress]) -> int:
    """Record these results in the caller's transaction; how many of them were still to be recorded."""
    now = datetime.now(UTC)
    await record_calls(
        connection, [(each.payment.id, call) for each in results for call in each.calls]
    )
    rows = await connection.execute(_LOCK, {"ids": [each.payment.id for each in results]})
    versions = {row.id: row.version for row in rows}
    current = [each for each in results if versions.get(each.payment.id) == each.payment.version]
    if not current:
        return 0
    steps = [_step(each) for each in current]
    succeeded = [each for each in steps if each.progress.state == State.SUCCEEDED]
    await _update(connection, steps, now)
    numbers = await _book(connection, [each.progress for each in succeeded], now)
    await ledger.void(
        connection,
        [p.payment.id for p in current if p.state == State.VOIDED and not p.payment.by_psp],
    )
    await open_cases(connection, _cases(current, now))
    said = [event for each in steps for event in each.said]
    for each, number in zip(succeeded, numbers, strict=True):
        said += announce.succeeded(each.progress.payment, each.version, number, now)
    await enqueue(connection, said)
    return len(current)


async def record_calls(connection: AsyncConnection, calls: Sequence[tuple[UUID, Call]]) -> None:
    """Write down what was asked outside, and what came of it."""
    if not calls:
        return
    await connection.execute(
        _CALLS,
        {
            "subjects": [subject for subject, _ in calls],
            "legs": [call.leg for _, call in calls],
            "outcomes": [call.outcome for _, call in calls],
            "details": [call.detail for _, call in calls],
            "started": [call.started_at for _, call in calls],
            "durations": [call.duration_ms for _, call in calls],
        },
    )


async def open_cases(connection: AsyncConnection, cases: Sequence[tuple[UUID, str, str]]) -> None:
    """Open cases (subject, kind, note) for finance ops; one that is open already stays as it is."""
    if not cases:
        return
    subjects, kinds, notes = zip(*cases, strict=True)
    await connection.execute(
        _CASES, {"subjects": list(subjects), "kinds": list(kinds), "notes": list(notes)}
    )


def retry_at(now: datetime, attempts: int) -> datetime:
    """When to ask again after this many attempts."""
    return now + min(FIRST_RETRY * 2 ** min(attempts, 20), LONGEST_RETRY)


def _step(progress: Progress) -> _Step:
    payment, next_version = progress.payment, progress.payment.version + 1
    match progress.state:
        case State.SUCCEEDED:
            return _Step(progress, next_version)
        case State.VOIDED | State.DECLINED as state:
            assert progress.reason
            said = announce.failed(payment, next_version, state.value, progress.reason)
            return _Step(progress, next_version, (said,))
        case _ if progress.action_url and progress.action_url != payment.action_url:
            said = announce.action_required(payment, next_version, progress.action_url)
            return _Step(progress, next_version, (said,))
    return _Step(progress, payment.version)


async def _update(connection: AsyncConnection, steps: Sequence[_Step], now: datetime) -> None:
    rows = [(each.progress, each.version) for each in steps]
    await connection.execute(
        _UPDATE,
        {
            "now": now,
            "ids": [p.payment.id for p, _ in rows],
            "states": [p.state.value for p, _ in rows],
            "versions": [version for _, version in rows],
            "intents": [p.intent_id for p, _ in rows],
            "urls": [p.action_url for p, _ in rows],
            "legs": [p.unknown_leg for p, _ in rows],
            "reasons": [p.reason for p, _ in rows],
            "nexts": [_next_attempt(p, now) for p, _ in rows],
            "authorized": [p.authorized_at for p, _ in rows],
            "applied": [p.applied_at for p, _ in rows],
        },
    )


def _next_attempt(progress: Progress, now: datetime) -> datetime | None:
    if progress.state not in OPEN:
        return None
    if progress.action_url:
        return now + ACTION_POLL
    return retry_at(now, progress.payment.attempts)


async def _book(
    connection: AsyncConnection, succeeded: Sequence[Progress], now: datetime
) -> list[str]:
    # The money moves from where it was held to the biller, and the receipt says so.
    transfers = []
    for each in succeeded:
        payment = each.payment
        source = (
            ledger.psp_clearing(payment.currency)
            if payment.by_psp
            else ledger.wallet(payment.channel, payment.payer, payment.currency)
        )
        transfers.append(
            ledger.pay_bill(payment.id, source, payment.bill.biller_id, payment.amount_minor, now)
        )
    ids = await ledger.open_accounts(
        connection, [account for each in transfers for account in (each.debit, each.credit)]
    )
    released = await ledger.end_posted(
        connection, [each.payment.id for each in succeeded if not each.payment.by_psp]
    )
    await ledger.post(connection, transfers, ids, released)
    return await receipts.issue(connection, [new_receipt(each.payment, now) for each in succeeded])


def _cases(results: Sequence[Progress], now: datetime) -> list[tuple[UUID, str, str]]:
    cases = []
    for each in results:
        payment = each.payment
        if each.case:
            cases.append((payment.id, each.unknown_leg or "payment", each.case))
        elif (
            each.unknown_leg and payment.unknown_since and now - payment.unknown_since > CASE_AFTER
        ):
            note = f"{each.unknown_leg} has had no answer since {payment.unknown_since:%F %T %Z}"
            cases.append((payment.id, f"unknown_{each.unknown_leg}", note))
    return cases

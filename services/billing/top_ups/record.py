"""Record the results of top-ups: the wallet's balance, the top-up and its event change together."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from events.message import Event
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger
from services.billing.outside.calls import record_calls
from services.billing.outside.cases import open_cases
from services.billing.outside.recording import cases_of, furthest_results, record_errands
from services.billing.top_ups.events import event_of
from services.billing.top_ups.model import TopUpProgress
from services.billing.top_ups.tables import IS_OPEN, TopUpState

_RANKS: dict[str, int] = {TopUpState.ACCEPTED: 0, TopUpState.SUCCEEDED: 1, TopUpState.DECLINED: 1}

_LOCK = text(f"""
    SELECT id, state, version, action_url FROM top_ups
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN} ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608 - the states are our own constants
_UPDATE = text("""
    UPDATE top_ups t
    SET state = n.state, version = n.version, psp_intent_id = coalesce(n.intent_id, t.psp_intent_id),
        action_url = n.action_url, reason = n.reason, finished_at = CASE WHEN n.ended THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:versions AS int[]), CAST(:intents AS text[]),
        CAST(:urls AS text[]), CAST(:reasons AS text[]), CAST(:ended AS bool[]))
        AS n (id, state, version, intent_id, action_url, reason, ended)
    WHERE t.id = n.id
""")

_Step = tuple[TopUpProgress, Row[Any], Event | None]


async def record_top_ups(connection: AsyncConnection, results: Sequence[TopUpProgress]) -> int:
    """Record these results in the caller's transaction; return how many of them changed something."""
    now = datetime.now(UTC)
    await record_calls(connection, results)
    rows = await connection.execute(_LOCK, {"ids": [each.top_up.id for each in results]})
    locked = await errands.lock(connection, [each.top_up.errand for each in results])
    superseding = furthest_results(results, rows.all(), locked, _RANKS, (TopUpState.DECLINED,))
    steps = [(each, row, event_of(each, row.action_url)) for each, row in superseding]
    ended = [each.subject for each, _, _ in steps if each.state != TopUpState.ACCEPTED]
    await record_errands(connection, results, locked, ended)
    if not steps:
        return 0
    await _update(connection, steps)
    await _book(
        connection, [each for each, _, _ in steps if each.state == TopUpState.SUCCEEDED], now
    )
    await open_cases(
        connection, [case for each, _, _ in steps for case in cases_of(each, locked, "top_up")]
    )
    await enqueue(
        connection,
        [
            Outgoing.of(event, row.version + 1, correlation_id=each.top_up.correlation_id)
            for each, row, event in steps
            if event
        ],
    )
    return len(steps)


async def _update(connection: AsyncConnection, steps: Sequence[_Step]) -> None:
    await connection.execute(
        _UPDATE,
        {
            "ids": [row.id for _, row, _ in steps],
            "states": [each.state for each, _, _ in steps],
            "versions": [row.version + (event is not None) for _, row, event in steps],
            "intents": [each.intent_id for each, _, _ in steps],
            "urls": [each.action_url for each, _, _ in steps],
            "reasons": [each.reason for each, _, _ in steps],
            "ended": [each.state != TopUpState.ACCEPTED for each, _, _ in steps],
        },
    )


async def _book(
    connection: AsyncConnection, succeeded: Sequence[TopUpProgress], now: datetime
) -> None:
    if not succeeded:
        return
    transfers = [
        ledger.top_up(each.top_up.transfer_id, each.top_up.wallet, each.top_up.amount_minor, now)
        for each in succeeded
    ]
    await ledger.post(connection, transfers)

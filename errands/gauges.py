"""Gauges of the errands that wait in the table. One process sets them: the timer, every few seconds."""

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from errands.listing import Backlog, backlogs

WAITING = Gauge("errands_waiting", "Errands that no process holds, due or not", ["institution"])
OLDEST = Gauge(
    "errands_oldest_seconds",
    "How long the errand that is due for longest has been due",
    ["institution"],
)
UNKNOWN = Gauge("errands_unknown", "Errands whose call has had no answer", ["institution"])
HELD = Gauge("errands_held", "Errands that processes hold", ["institution"])
PAUSED = Gauge("institution_paused", "1 while an operator has paused it", ["institution"])

# The institutions for which the gauges have series, so that an institution without errands goes back to 0.
_counted: set[str] = set()


async def count_errands(engine: AsyncEngine) -> int:
    """Set the gauges. Return 0: no work is left for another call."""
    async with engine.connect() as connection:
        by_name = {each.institution: each for each in await backlogs(connection)}
    _counted.update(by_name)
    for name in _counted:
        backlog = by_name.get(name) or Backlog(name, 0, 0, 0, None, None, None)
        WAITING.labels(name).set(backlog.waiting)
        OLDEST.labels(name).set(backlog.oldest_seconds or 0.0)
        UNKNOWN.labels(name).set(backlog.unknown)
        HELD.labels(name).set(backlog.under_way)
        PAUSED.labels(name).set(backlog.paused_at is not None)
    return 0

"""Gauges of the errands that wait in the table. One process sets them: the timer, every few seconds."""

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from errands.listing import Backlog, backlogs

WAITING = Gauge("errands_waiting", "Errands that no process has, due or not", ["institution"])
OLDEST = Gauge(
    "errands_oldest_seconds",
    "For how long the first of the errands that are due has been so",
    ["institution"],
)
UNKNOWN = Gauge("errands_unknown", "Errands whose call has had no answer", ["institution"])
HELD = Gauge("errands_held", "Errands that processes have in hand", ["institution"])
PAUSED = Gauge("institution_paused", "1 while an operator has paused it", ["institution"])

# The institutions for which the gauges have series, so that an institution without errands goes back to 0.
_counted: set[str] = set()


async def count_errands(engine: AsyncEngine) -> int:
    """Set the gauges. Always returns 0, because nothing is left to do."""
    async with engine.connect() as connection:
        found = {each.institution: each for each in await backlogs(connection)}
    _counted.update(found)
    for name in _counted:
        now = found.get(name) or Backlog(name, 0, 0, 0, None, None, None)
        WAITING.labels(name).set(now.waiting)
        OLDEST.labels(name).set(now.oldest_seconds or 0.0)
        UNKNOWN.labels(name).set(now.unknown)
        HELD.labels(name).set(now.under_way)
        PAUSED.labels(name).set(now.paused_at is not None)
    return 0

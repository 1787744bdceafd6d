"""Find charges in the PSP's list of intents; concurrent searches share one sweep of the list.

In an outage hundreds of payments search at the same time, each in a span of time. Overlapping spans are listed once;
spans that are far apart are listed separately, so that an old charge does not cause a list of all days since.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from chassis.http.batcher import Batcher, LostBatchError
from services.billing.psp.outcomes import Intent, Unknown
from services.billing.psp.transport import Params
from services.billing.psp.wire import WireIntent
from services.billing.subject import Subject

# The difference allowed between the PSP's clock (when an intent was created) and ours (when it was requested).
SLACK_SECONDS = 60
# Listing what lies between two spans costs fewer requests than another list, up to about this.
NEAR_SECONDS = 60
# How long a sweep waits for further searches to join.
GATHER_SECONDS = 0.05
# When a sweep takes longer, the next one starts beside it, so that later searches are not held up.
USUAL_SECONDS = 5.0
# The PSP limits requests per second, and payments need them.
LISTS_AT_ONCE = 4
# More than a process ever has under way.
MOST_SOUGHT = 10_000

ListIntents = Callable[
    [Params, Callable[[WireIntent], bool]], Awaitable[list[WireIntent] | Unknown]
]


class Sought(NamedTuple):
    """A search for a charge among the intents of a span: Unix seconds, both included."""

    subject: Subject
    since: int
    until: int


class Sweep:
    """The sweeps of one PSP account. `list_intents` lists the intents that match parameters and a condition."""

    def __init__(self, list_intents: ListIntents) -> None:
        self._list_intents = list_intents
        self._batcher: Batcher[Sought, list[Intent] | Unknown] = Batcher(
            self._run,
            concerns_all=lambda _: True,
            most=MOST_SOUGHT,
            usual_seconds=USUAL_SECONDS,
            wait_seconds=GATHER_SECONDS,
        )

    async def aclose(self) -> None:
        """Cancel the sweeps under way."""
        await self._batcher.aclose()

    async def find(
        self, subject: Subject, since: datetime, until: datetime
    ) -> list[Intent] | Unknown:
        """Return the subject's intents of the span, from a list that was begun after this call."""
        if since.tzinfo is None or until.tzinfo is None:
            raise ValueError("the bounds need a time zone")
        first = math.floor(since.timestamp()) - SLACK_SECONDS
        last = math.ceil(until.timestamp()) + SLACK_SECONDS
        try:
            # A key of its own: the same charge may be searched for twice at the same time.
            return await self._batcher.submit(Sought(subject, first, last), key=object())
        except LostBatchError:
            return Unknown("cut_short: the sweep ended before it had read the whole list")

    async def _run(self, sought: Sequence[Sought]) -> list[list[Intent] | Unknown]:
        places = asyncio.Semaphore(LISTS_AT_ONCE)
        groups = near(sought)
        swept = await asyncio.gather(*(self._sweep(group, places) for group in groups))
        found = {
            search: intents if isinstance(intents, Unknown) else intents[search.subject]
            for group, intents in zip(groups, swept, strict=True)
            for search in group
        }
        return [found[search] for search in sought]

    async def _sweep(
        self, group: Sequence[Sought], places: asyncio.Semaphore
    ) -> dict[Subject, list[Intent]] | Unknown:
        found: dict[Subject | None, list[Intent]] = {search.subject: [] for search in group}
        span = [
            ("created[gte]", str(min(search.since for search in group))),
            ("created[lte]", str(max(search.until for search in group))),
        ]
        async with places:
            wires = await self._list_intents(span, lambda wire: wire.subject in found)
        if isinstance(wires, Unknown):
            return wires
        for wire in wires:
            found[wire.subject].append(wire.intent())
        return {subject: intents for subject, intents in found.items() if subject}


def near(sought: Iterable[Sought]) -> list[list[Sought]]:
    """Return the searches in groups whose spans overlap or nearly do, the earliest first."""
    groups: list[list[Sought]] = []
    reached = -math.inf
    for search in sorted(sought, key=lambda search: search.since):
        if not groups or search.since > reached + NEAR_SECONDS:
            groups.append([])
        groups[-1].append(search)
        reached = max(reached, search.until)
    return groups

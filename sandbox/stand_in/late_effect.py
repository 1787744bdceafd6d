"""Effects that come after their caller has gone: the connection breaks without an answer, and then the call is run."""

import asyncio
from collections.abc import Callable

from sandbox.stand_in.connection import Cut
from sandbox.stand_in.durable_store import DurableStore

# The connection of a caller who is patient breaks so long before the effect, so that every caller has to ask again.
BREAKS_BEFORE_SECONDS = 1.0


def have_late_effect(store: DurableStore, seconds: float, effect: Callable[[], None]) -> Cut:
    """Run `effect` after this many seconds, and commit it; return the cut with which the caller gets no response now.

    An effect that is still to come when the process ends never comes.
    """

    def run() -> None:
        effect()
        store.commit()

    asyncio.get_running_loop().call_later(seconds, run)
    return Cut(seconds=max(seconds - BREAKS_BEFORE_SECONDS, seconds / 2))

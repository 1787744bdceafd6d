"""Work on a set of rows, of which one may be refused: halving finds it, as the Kafka consumer finds a bad record.

A refusal that passes by itself (messaging.transient) is nobody's fault here: it is raised, and the same work is done
later.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from messaging.transient import is_transient

Item = TypeVar("Item")


async def narrow(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Awaitable[None]]
) -> list[tuple[Item, Exception]]:
    """Do the work for all items, each in one call that succeeds; the items that fail alone, each with its error.

    `work` commits all of the items that it gets, or none. Raises transient errors; what was committed before stays.
    """
    if not items:
        return []
    try:
        await work(items)
    except Exception as error:
        if is_transient(error):
            raise
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
        first = await narrow(items[:middle], work)
        return [*first, *await narrow(items[middle:], work)]
    return []

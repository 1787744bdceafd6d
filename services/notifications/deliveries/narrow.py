"""Work on a set of rows of which one may be refused: halving finds it, as the Kafka consumer finds a bad record.

Transient errors, and errors that every row would cause (a table older than the code, a missing right, no partition for
today), are not the fault of a row: they are raised, and the same work is done later.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from chassis.database import violated
from messaging.transient import is_transient

Item = TypeVar("Item")

# SQLSTATE classes: not supported (a plan that a migration made stale), transaction state, statement name,
# authorization, catalogue, schema, and syntax or access.
_EVERY_ROW = ("0A", "25", "26", "28", "3D", "3F", "42")


async def narrow(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Awaitable[None]]
) -> list[tuple[Item, Exception]]:
    """Do the work for all items, halving after errors; return the items that fail alone, each with its error.

    `work` commits all of its items or none. Raises errors that are not caused by an item; earlier commits stay.
    """
    if not items:
        return []
    try:
        await work(items)
    except Exception as error:
        if not is_of_a_row(error):
            raise
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
        first = await narrow(items[:middle], work)
        return [*first, *await narrow(items[middle:], work)]
    return []


def is_of_a_row(error: Exception) -> bool:
    """Return True when the error may be caused by one of the rows that were written."""
    if is_transient(error):
        return False
    state = sqlstate(error)
    if state is None:
        # Not from the database: a value that cannot be encoded, an event that cannot be built.
        return True
    # A row that finds no partition violates a check without a name.
    missing = state == "23514" and isinstance(error, IntegrityError) and violated(error) is None
    return not (missing or state.startswith(_EVERY_ROW))


def sqlstate(error: Exception) -> str | None:
    """Return the SQLSTATE of an error that the database raised, else None."""
    state: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state

"""Transient errors: faults of the database or of Kafka that pass by themselves.

After a transient error the same work is repeated; any other error is the fault of a record or of the code.
"""

import random
from collections.abc import Iterator

import asyncpg
from aiokafka.errors import KafkaError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# SQLSTATE classes: connection, resources, operator intervention (shutdown, statement timeout), system, internal.
_CLASSES = ("08", "53", "57", "58")
_STATES = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "25006",  # read only: the connection is to a server that failed over
        "25P03",  # idle in transaction for too long
        "25P04",  # transaction timeout
    }
)


def is_transient(error: BaseException) -> bool:
    """Return True when the same work may succeed later."""
    return any(_is_one(link) for link in _chain(error))


def backoff_seconds(attempt: int, first: float = 0.05, most: float = 5.0) -> float:
    """Return the pause before attempt number `attempt` + 1: doubling, with jitter so that processes spread out."""
    return random.uniform(0.5, 1.0) * min(most, first * 2.0 ** min(attempt - 1, 30))


def _is_one(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None)
        return state is not None and _passes(state)
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate is not None and _passes(error.sqlstate)
    if isinstance(error, asyncpg.InterfaceError):
        # "connection is closed" and the like; a value that cannot be encoded is a ValueError as well.
        return not isinstance(error, ValueError)
    if isinstance(error, KafkaError):
        return bool(error.retriable)
    # InternalClientError: asyncpg raises it when the server ended the session just as a statement was sent.
    return isinstance(
        error, OSError | TimeoutError | PoolTimeoutError | asyncpg.InternalClientError
    )


def _passes(state: str) -> bool:
    return state in _STATES or state.startswith(_CLASSES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    # An error that a library wrapped (`raise ... from`) counts; one that happened during handling (__context__) does
    # not.
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__

"""The database, for each service alike: one engine per process, one schema per service, constraints with names."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

import asyncpg
from asyncpg.pgproto import pgproto
from sqlalchemy import MetaData, event, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

PlanCacheMode = Literal["auto", "force_generic_plan"]
# The name of our sessions in pg_stat_activity.
APPLICATION = "meterhall"
# A server that does not answer a new connection within this time counts as unreachable.
CONNECT_SECONDS = 10
# A transaction ends within this time even if its process is frozen: before Kafka gives the partitions of a silent
# process to others (messaging/consumer/broker.py). A batch of a thousand takes less than one second.
TRANSACTION_SECONDS = 8.0
# The newest PostgreSQL without transaction_timeout.
_NEWEST_WITHOUT = 16


def new_metadata() -> MetaData:
    """Return a service's metadata. Constraints have names, so that code can identify a violation and a migration the
    constraint."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def as_asyncpg_uuid(id: UUID) -> UUID:
    """Return the id as asyncpg's own UUID type, which is hashed, printed and written in a tenth of the time."""
    same: UUID = pgproto.UUID(id.bytes)
    return same


class View(NamedTuple):
    """A view by which the owner of tables lets other rooms read them in SQL. The planner inlines it.

    Declared beside the tables; a migration makes it, and a test compares the database with the declaration.
    """

    name: str
    query: str


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the SQL condition that a column has one of these values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def connect(
    url: str,
    schema: str,
    *,
    pool_size: int = 8,
    plan_cache_mode: PlanCacheMode = "auto",
    transaction_seconds: float | None = TRANSACTION_SECONDS,
) -> AsyncEngine:
    """Return an engine whose connections see one schema. `url` is postgresql+asyncpg://…; nothing is opened yet.

    `force_generic_plan` is for a process that finds all rows by their keys: a statement is then planned once for each
    connection. By default PostgreSQL plans again for each batch of another size, which takes half of its time when
    batches are small.

    A transaction that is open for longer than `transaction_seconds` is rolled back, and its session ended (decision
    17). A larger value is for work of minutes that holds no locks; None is for work that may take any time.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        # An error's text goes into logs, and parameters hold account numbers and payers.
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "server_settings": {
                "search_path": schema,
                "jit": "off",
                "plan_cache_mode": plan_cache_mode,
                "application_name": APPLICATION,
                # No PostgreSQL timeout covers a session that sends to a process which has stopped reading.
                "tcp_user_timeout": _milliseconds(TRANSACTION_SECONDS),
            },
        },
    )

    _bound_transactions(engine, transaction_seconds)
    return engine


def _bound_transactions(engine: AsyncEngine, transaction_seconds: float | None) -> None:
    def bound(connection: Any, _: object) -> None:
        # The version is known only now, and a server refuses a connection with a setting that it does not know.
        version = connection.driver_connection.get_server_version().major
        bounds = _bounds(version, transaction_seconds)
        settings = "; ".join(f"SET {name} = {value}" for name, value in bounds.items())
        connection.run_async(lambda driver: driver.execute(settings))

    event.listen(engine.sync_engine, "connect", bound)


async def connect_directly(
    url: str,
    schema: str,
    *,
    command_timeout_seconds: float | None = None,
    settings: Mapping[str, str] | None = None,
) -> "asyncpg.Connection[Any]":
    """Open an asyncpg connection to the URL of an engine, for work that needs its own session or COPY.

    `settings` are PostgreSQL's, for the session. Its transactions may take any time.
    """
    named = make_url(url)
    return await asyncpg.connect(
        host=named.host,
        port=named.port,
        user=named.username,
        password=named.password,
        database=named.database,
        ssl=named.query.get("ssl"),
        timeout=CONNECT_SECONDS,
        command_timeout=command_timeout_seconds,
        server_settings={"search_path": schema, **(settings or {})},
    )


def _bounds(version: int, transaction_seconds: float | None) -> dict[str, str]:
    """Return the settings with which PostgreSQL ends a transaction after this time, and an idle one sooner."""
    idle_seconds = min(TRANSACTION_SECONDS, transaction_seconds or TRANSACTION_SECONDS)
    if version > _NEWEST_WITHOUT:
        total = {"transaction_timeout": _milliseconds(transaction_seconds or 0)}
    else:
        # Together they bound a process that stops: the statement under way, and the idle time after it.
        idle_seconds /= 2
        left = transaction_seconds - idle_seconds if transaction_seconds else 0
        total = {"statement_timeout": _milliseconds(left)}
    return {**total, "idle_in_transaction_session_timeout": _milliseconds(idle_seconds)}


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


_BEGIN = text("SELECT")


async def copy(
    connection: AsyncConnection,
    table: str,
    columns: Sequence[str],
    rows: Collection[Sequence[Any]],
) -> None:
    """Insert the rows by COPY, in the connection's transaction. Raises IntegrityError as an INSERT would.

    Cheaper than an INSERT from arrays: asyncpg checks for each element of an array whether it is an array as well, and
    PostgreSQL writes rows from COPY to its log page by page (decision 10).
    """
    if not rows:
        return
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not driver.is_in_transaction():
        # SQLAlchemy begins with its first statement, and a COPY before that would commit by itself.
        await connection.execute(_BEGIN)
    try:
        await driver.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.IntegrityConstraintViolationError as error:
        error.detail = None  # it quotes the row, and an error's text goes into logs
        raise IntegrityError(f"COPY {table}", None, error, hide_parameters=True) from error
    except Exception as error:
        if _ends_session(error):
            # SQLAlchemy has not seen the error, and would hand the dead session to the next caller.
            await connection.invalidate(error)
        raise


def _ends_session(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, asyncpg.PostgresConnectionError
    ):
        return getattr(error, "severity_en", None) in {"FATAL", "PANIC"}
    # A value that cannot be encoded is a ValueError, and leaves the session as it was.
    return not isinstance(error, ValueError)


def violated(error: IntegrityError) -> str | None:
    """Return the name of the constraint that was violated."""
    # An error of copy() has asyncpg's error directly, one of SQLAlchemy has it behind an error of its own.
    for cause in (error.orig, getattr(error.orig, "__cause__", None)):
        if isinstance(cause, asyncpg.PostgresError):
            name: str | None = cause.constraint_name
            return name
    return None

"""The database, for each service alike: one engine per process, one schema per service, constraints with names."""

from collections.abc import Iterable

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def new_metadata() -> MetaData:
    """A service's metadata. Constraints have names, so that a violation can be told and a migration can find it."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def one_of(column: str, values: Iterable[str]) -> str:
    """The condition of a CHECK that a column has one of these values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def connect(url: str, schema: str, *, pool_size: int = 8) -> AsyncEngine:
    """An engine whose connections see one schema. `url` is postgresql+asyncpg://…; nothing is opened yet."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        # An error's text goes into logs, and parameters hold account numbers and payers.
        hide_parameters=True,
        connect_args={
            "timeout": 10,
            "server_settings": {
                "search_path": schema,
                "jit": "off",
                "idle_in_transaction_session_timeout": "60s",
                "application_name": "meterhall",
            },
        },
    )

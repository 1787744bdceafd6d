"""The database: one engine per process, one metadata for billing's tables, no ORM on the hot path."""

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# Constraints have names, so that a violation can be told by its name and a migration can find it.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def connect(url: str, *, pool_size: int = 8, schema: str = "billing") -> AsyncEngine:
    """An engine whose connections see one schema. `url` is postgresql+asyncpg://…; nothing is opened yet."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
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

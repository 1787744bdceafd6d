"""Databases for tests: a template that Alembic migrates once, and a clone of it for each test that needs one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from migrations.apply import migrate

OWNER = "meterhall_owner"
PASSWORD = "of-this-test-run-only"


@dataclass(frozen=True)
class Database:
    """A database of one test, with the URL of each role."""

    name: str
    owner_url: str
    billing_url: str
    notifications_url: str


class Databases:
    """Creates databases on one server. `superuser_url` is postgresql+asyncpg://…/postgres."""

    def __init__(self, superuser_url: str) -> None:
        self._superuser_url = superuser_url
        self._template = f"template_{uuid.uuid4().hex[:8]}"

    async def prepare(self) -> None:
        """Create the owner and the empty template."""
        await self._run(
            f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}';"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            f"CREATE DATABASE {self._template} OWNER {OWNER}",
        )

    def migrate(self) -> None:
        """Migrate the template, as an operator migrates a database."""
        template = self._named(self._template)
        migrate(template.owner_url, template.billing_url, template.notifications_url)

    async def clone(self) -> Database:
        """Create a copy of the template."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        await self._run(
            f"CREATE DATABASE {name} TEMPLATE {self._template} OWNER {OWNER} STRATEGY FILE_COPY"
        )
        return self._named(name)

    async def drop(self, database: Database) -> None:
        await self._run(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def _named(self, name: str) -> Database:
        server = self._superuser_url.split("@", 1)[1].rsplit("/", 1)[0]

        def url(role: str) -> str:
            return f"postgresql+asyncpg://{role}:{PASSWORD}@{server}/{name}"

        return Database(name, url(OWNER), url("billing_app"), url("notifications_app"))

    async def _run(self, *statements: str) -> None:
        engine = create_async_engine(
            self._superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        try:
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.execute(text(statement))
        finally:
            await engine.dispose()


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Collect the statements that the engine executes meanwhile, without COPY."""
    executed: list[str] = []

    def note(*args: Any) -> None:
        executed.append(args[2])

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield executed
    event.remove(engine.sync_engine, "before_cursor_execute", note)

"""The stage of one run: a throwaway PostgreSQL and Kafka, both durable, and a fresh city for each measurement.

The city is built once, as a template: billers, accounts, bills, wallets with money, and past payments. Each measurement
gets a clone of it, so that no measurement sees the rows of another.
"""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.benchmark_plan import BenchmarkPlan
from benchmarks.measured_city import CHANNEL, SIGNING_KEY_ID, MeasuredCity, build
from chassis.database import connect_directly
from messaging.control import provision
from migrations.apply import migrate
from sandbox.local.create_database import create_database
from sandbox.local.kafka import Kafka
from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import HOST, free_port
from sandbox.local.postgres import Postgres
from services.billing.channels.signing_keys import derive
from services.billing.database import connect

OWNER = "meterhall_owner"
TEMPLATE = "city"


class Stage:
    """Servers and databases. Entering it starts the servers and builds the template; not inside an event loop."""

    def __init__(self, folder: Path, plan: BenchmarkPlan, log: Callable[[str], None]) -> None:
        self.folder = folder
        self.plan = plan
        self._log = log
        self._password = secrets.token_urlsafe(16)
        self._command_secret = secrets.token_urlsafe(32)
        # The wallets of every city sign their commands with it.
        self.signing_key = derive(self._command_secret.encode(), CHANNEL, SIGNING_KEY_ID)
        self.postgres = Postgres(folder / "postgres", self._password)
        self.kafka = Kafka(folder / "kafka")

    def __enter__(self) -> Self:
        try:
            self._log("PostgreSQL, Kafka, topics")
            (self.folder / "rows").mkdir(parents=True)
            superuser = self.postgres.start().superuser_url()
            provision(self.kafka.start().bootstrap)
            # As on a server that has run for a day, the write-ahead log goes into recycled files.
            asyncio.run(self.superuser("ALTER SYSTEM SET min_wal_size = '1GB'"))
            asyncio.run(self.superuser("SELECT pg_reload_conf()"))
            self._log(
                f"a city with {self.plan.bills:,} bills and {self.plan.history:,} past payments"
            )
            create_database(superuser, TEMPLATE, OWNER, self._password)
            migrate(
                *(self._url(role, TEMPLATE) for role in (OWNER, "billing_app", "notifications_app"))
            )
            asyncio.run(
                build(self._url(OWNER, TEMPLATE), self._url("billing_app", TEMPLATE), self.plan)
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kafka.stop()
        self.postgres.stop()

    @asynccontextmanager
    async def city(self) -> AsyncIterator[MeasuredCity]:
        """Clone the template into a database that is dropped afterwards."""
        name = f"city_{secrets.token_hex(4)}"
        await self.superuser(
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER} STRATEGY FILE_COPY"
        )
        billing_url = self._url("billing_app", name)
        # The checks at the end read millions of rows in one transaction.
        engine = connect(billing_url, transaction_seconds=None)
        try:
            yield MeasuredCity(name, self._url(OWNER, name), billing_url, engine)
        finally:
            await engine.dispose()
            await self.superuser(f"DROP DATABASE {name} WITH (FORCE)")

    def process(
        self, name: str, module: str, environment: Mapping[str, str], *arguments: str
    ) -> LocalProcess:
        """Return one of Meterhall's processes, not started yet, with a port of its own for its probes."""
        port = free_port()
        settings = {
            "METERHALL_KAFKA": self.kafka.bootstrap,
            "METERHALL_COMMAND_SECRET": self._command_secret,
            "METERHALL_METRICS_PORT": str(port),
            "METERHALL_WEB_PORT": str(port),
        }
        ready = f"http://{HOST}:{port}/readyz"
        log = self.folder / "logs" / f"{name}.log"
        return LocalProcess(name, module, {**settings, **environment}, log, ready, arguments)

    def free_bytes(self) -> int:
        """Return the free space of the disk that the stage is on."""
        return shutil.disk_usage(self.folder).free

    async def superuser(self, statement: str) -> Any:
        """Execute a statement as the superuser, outside of every city; return its first value."""
        connection = await connect_directly(self.postgres.superuser_url(), "billing")
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def _url(self, role: str, database: str) -> str:
        return self.postgres.url(role, self._password, database)

"""The real servers that tests run against: a PostgreSQL and a Kafka per process of a run, a database per test.

Servers that exist already (METERHALL_TEST_POSTGRES, METERHALL_TEST_KAFKA) are for a run in one process: `pytest`.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from sandbox.local.kafka import Kafka
from sandbox.local.postgres import Postgres
from services.billing.database import connect
from tests.support.billers import SandboxBillers
from tests.support.databases import Database, Databases
from tests.support.psp import SandboxPsp

# A database is hundreds of small files, and hundreds of tests have one of their own: creating it in memory is ten
# times faster than on a disk. All servers of a run together take less than 300 MB here.
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it has a random name and one owner
ENOUGH_BYTES = 2 << 30


class OneCityAtATime(LoadFileScheduling):  # type: ignore[misc]
    """Distributes each file's tests to one worker, and all tests of whole cities to the same worker.

    Two cities at a time need more than two processors, and the same ports.
    """

    def _split_scope(self, nodeid: str) -> str:
        cities = "tests/end_to_end/"
        return cities if nodeid.startswith(cities) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneCityAtATime:
    """Give xdist our scheduler."""
    return OneCityAtATime(config, log)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder of this test run, deleted afterwards; in memory if there is enough."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES
    folder = Path(tempfile.mkdtemp(prefix="meterhall-test-", dir=MEMORY if roomy else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(scratch: Path) -> Iterator[str]:
    """The superuser's URL of a server: a throwaway cluster, or the one named in METERHALL_TEST_POSTGRES."""
    existing = os.environ.get("METERHALL_TEST_POSTGRES")
    if existing:
        yield existing
        return
    with Postgres(scratch / "postgres", "superuser-of-this-run", durable=False) as server:
        yield server.superuser_url()


@pytest.fixture(scope="session")
def databases(postgres: str) -> Databases:
    """Databases on that server, cloned from a template that Alembic has migrated."""
    server = Databases(postgres)
    asyncio.run(server.prepare())
    server.migrate()
    return server


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """A migrated database, dropped after the test."""
    clone = await databases.clone()
    yield clone
    await databases.drop(clone)


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine with billing's application role on the test's database."""
    connected = connect(database.billing_url, pool_size=16)
    yield connected
    await connected.dispose()


@pytest.fixture
async def owner_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine with the owner's role: for planting rows that the application may not write."""
    connected = connect(database.owner_url)
    yield connected
    await connected.dispose()


@pytest.fixture(scope="session")
def kafka(scratch: Path) -> Iterator[str]:
    """The bootstrap address of a real broker with all topics, or the one named in METERHALL_TEST_KAFKA."""
    from messaging.control import provision

    existing = os.environ.get("METERHALL_TEST_KAFKA")
    if existing:
        provision(existing)
        yield existing
        return
    with Kafka(scratch / "kafka") as broker:
        provision(broker.bootstrap)
        yield broker.bootstrap


@pytest.fixture(scope="session")
def psp(scratch: Path) -> Iterator[SandboxPsp]:
    """The sandbox's PSP, one process for the whole run: use fresh ids, clear your faults, leave its clock alone."""
    with SandboxPsp(scratch / "psp") as provider:
        yield provider


@pytest.fixture(scope="session")
def billers(scratch: Path) -> Iterator[SandboxBillers]:
    """The sandbox's billers, one process for the whole run: use fresh accounts, and clear the faults you added."""
    with SandboxBillers(scratch / "billers") as institutions:
        yield institutions

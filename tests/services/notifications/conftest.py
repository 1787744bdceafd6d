"""The real things that notifications needs: its role on a database, a mail box over SMTP, a webhook receiver."""

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifications.database import connect
from tests.services.notifications.processes import Process
from tests.services.notifications.support import Hall, Receiver, hall_on
from tests.support.databases import Database
from tests.support.mailbox import MailBox


@pytest.fixture(scope="session")
def mailbox(scratch: Path) -> Iterator[MailBox]:
    """A mail box of the run; tests tell their mails apart by the address."""
    with MailBox(scratch / "mailbox") as box:
        yield box


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Notifications' application role on the test's database."""
    made = connect(database.notifications_url, pool_size=8)
    yield made
    await made.dispose()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[AsyncEngine]:
    """The owner in notifications' schema: for moving time and planting what the application may not."""
    made = connect(database.owner_url, pool_size=1)
    yield made
    await made.dispose()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A channel's webhook receiver."""
    async with Receiver() as made:
        yield made


@pytest.fixture
async def hall(engine: AsyncEngine, owner: AsyncEngine, mailbox: MailBox) -> AsyncIterator[Hall]:
    """The service's parts on the test's database, wired to the mail box."""
    async with contextlib.AsyncExitStack() as stack:
        yield await hall_on(stack, engine, owner, mailbox)


@pytest.fixture
def url(database: Database, tmp_path: Path) -> Iterator[str]:
    """The web process on the test's database."""
    web = Process(
        "web",
        tmp_path,
        {
            "METERHALL_NOTIFICATIONS_DATABASE_URL": database.notifications_url,
            "METERHALL_NOTIFICATIONS_WEB_PORT": "0",
        },
    ).start()
    yield web.first_line()
    # uvicorn ends in order and then lets the signal through.
    assert web.stop() == -signal.SIGTERM
    assert "@example.org" not in web.log()

"""A process that pays: with nobody outside, or with the sandbox's PSP and billers."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.connectors import Connectors
from services.billing.psp import Psp
from tests.services.billing.payments.city import City, city_between, settings
from tests.support.billers import SandboxBillers
from tests.support.errands import PayingProcess, institutions
from tests.support.factories import make_channel
from tests.support.psp import SandboxPsp

# Nobody listens here: whoever asks outside gets no answer.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def payments(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[PayingProcess]:
    """A process whose PSP and billers can't be reached: for what needs nobody outside."""
    await make_channel(engine)
    psp = Psp(NOWHERE, secrets.token_hex(8), timeout_seconds=0.5)
    at = institutions(0.5)
    connectors = Connectors(engine, settings(tmp_path), at)
    made = PayingProcess(engine, psp, connectors, at)
    yield made
    await made.aclose()
    await connectors.aclose()
    await psp.aclose()


@pytest.fixture
async def city(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    psp: SandboxPsp,
    billers: SandboxBillers,
    tmp_path: Path,
) -> AsyncIterator[City]:
    """A process with the sandbox's PSP and billers around it, and the strings to pull."""
    async with city_between(engine, owner_engine, psp, billers, tmp_path) as made:
        yield made

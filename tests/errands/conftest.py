"""A dispatcher with three institutions of four places each, and the workplace that carries out its errands."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher, Institutions
from tests.errands.workplace import HANGS, OTHER, WELL, Workplace


@pytest.fixture
def work() -> Workplace:
    return Workplace()


@pytest.fixture
def institutions() -> Institutions:
    institutions = Institutions()
    for name in (HANGS, WELL, OTHER):
        institutions.describe(
            name, places=4, line=4, longest_call_seconds=1.0, late_effect_seconds=60.0
        )
    return institutions


@pytest.fixture
async def dispatcher(
    engine: AsyncEngine, institutions: Institutions, work: Workplace
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(engine, institutions)
    for kind in ("payment", "refund"):
        dispatcher.register(work.handler(kind))
    yield dispatcher
    await dispatcher.aclose()

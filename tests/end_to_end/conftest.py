"""One city for the tests of this folder: all processes, over TCP, as a user runs it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox.demo.wallet_app import WalletApp
from sandbox.home import Home
from sandbox.local_city import CHANNEL, LocalCity


@pytest.fixture(scope="package")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCity]:
    """The city, started as by `meterhall up`, and stopped after the tests of this folder."""
    folder: Path = tmp_path_factory.mktemp("city")
    with Home(folder) as home, LocalCity(home, seed=7) as started:
        yield started


@pytest.fixture
async def wallet(city: LocalCity) -> AsyncIterator[WalletApp]:
    """The wallet app of the city's channel."""
    async with WalletApp(city.environment, city.home.secrets, CHANNEL) as app:
        yield app

"""One city for the tests of this folder: every process, over TCP, as a user has it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox.city import CHANNEL, City
from sandbox.demo.wallet import Wallet
from sandbox.home import Home


@pytest.fixture(scope="package")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """The city, started as `meterhall up` starts it, and stopped when this folder's tests are over."""
    folder: Path = tmp_path_factory.mktemp("city")
    with Home(folder) as home, City(home, seed=7) as started:
        yield started


@pytest.fixture
async def wallet(city: City) -> AsyncIterator[Wallet]:
    """The wallet app of the city's channel."""
    async with Wallet(city.environment, city.home.secrets, CHANNEL) as made:
        yield made

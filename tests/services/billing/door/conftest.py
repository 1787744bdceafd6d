"""Wallet apps in front of the HTTP door."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.services.billing.door.web import Wallet, serve
from tests.support.errands import PayingProcess
from tests.support.factories import make_biller, make_channel


@pytest.fixture
async def wallet(engine: AsyncEngine, payments: PayingProcess) -> AsyncIterator[Wallet]:
    await make_biller(engine)
    key = await make_channel(engine)
    async with serve(engine) as url:
        made = Wallet(url, key)
        yield made
        await made.client.aclose()


@pytest.fixture
async def stranger(engine: AsyncEngine, wallet: Wallet) -> AsyncIterator[Wallet]:
    made = Wallet(str(wallet.client.base_url), await make_channel(engine, "other-app"))
    yield made
    await made.client.aclose()

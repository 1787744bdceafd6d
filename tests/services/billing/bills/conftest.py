"""A hall with the sandbox's catalogue, a channel, and lookups that ask the sandbox's billers over TCP."""

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import LookUpBills
from events.ids import uuid7
from services.billing.bills.accounts import find_or_open_accounts
from services.billing.bills.connectors import Connectors
from services.billing.catalog import import_catalogue
from services.billing.catalog.read_file import read_lines
from services.billing.channels import create_channel
from services.billing.instruction import Instruction
from services.billing.settings import Settings
from tests.support.billers import SandboxBillers
from tests.support.databases import Database
from tests.support.errands import LookingUpProcess, institutions

CHANNEL = "demo-wallet"
# One biller for each dialect.
SPEAKERS = ("hz-water", "south-gas", "sh-water")
_taken = itertools.count()


@dataclass
class Hall:
    """A worker's lookups with helpers for tests."""

    engine: AsyncEngine
    billers: SandboxBillers
    connectors: Connectors
    lookups: LookingUpProcess

    async def account(self, biller: str, number: str) -> UUID:
        async with self.engine.begin() as connection:
            return (await find_or_open_accounts(connection, [(biller, number)]))[biller, number]

    def fresh(self, biller: str, *, owing: bool = True) -> str:
        """An account number that no other test uses, as long as there are some."""
        accounts = self.billers.accounts(biller, limit=400, owing=owing)
        return accounts[next(_taken) % len(accounts)]

    async def command(self, biller: str, number: str) -> LookUpBills:
        account_id = await self.account(biller, number)
        return LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=account_id)

    async def look_up(self, *commands: LookUpBills) -> dict[UUID, str]:
        """Carry out the commands to the end; why some were refused."""
        refused = await self.lookups.look_up([Instruction(each, "corr-1") for each in commands])
        await self.lookups.drain()
        while await self.lookups.resume():
            await self.lookups.drain()
        return dict(refused)

    async def rows(self, select: str, **values: Any) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(select), values)).all())

    async def row(self, lookup_id: UUID) -> Any:
        (row,) = await self.rows("SELECT * FROM lookups WHERE id = :id", id=lookup_id)
        return row

    async def bills(self, account_id: UUID) -> list[Any]:
        return await self.rows(
            "SELECT * FROM bills WHERE account_id = :id ORDER BY bill_number", id=account_id
        )

    async def events(self, lookup_id: UUID) -> list[tuple[str, int, dict[str, Any]]]:
        """Return the lookup's messages in the outbox: type, sequence and payload."""
        rows = await self.rows(
            "SELECT type, sequence, payload FROM outbox WHERE key = :key ORDER BY id",
            key=str(lookup_id),
        )
        return [(row.type, row.sequence, json.loads(row.payload)) for row in rows]


@pytest.fixture
async def hall(
    engine: AsyncEngine, database: Database, billers: SandboxBillers
) -> AsyncIterator[Hall]:
    lines = [json.dumps(row).encode() for row in billers.rows]
    catalogue, errors = read_lines(lines)
    assert not errors, errors
    async with engine.begin() as connection:
        await import_catalogue(connection, catalogue)
        await create_channel(connection, CHANNEL, "The demo wallet")
        # The time that a biller has is short, so that a test of a silent one is.
        await connection.execute(text("UPDATE billers SET timeout_ms = 700"))
    settings = Settings(
        database_url=SecretStr(database.billing_url),
        biller_secrets=billers.secrets_path,
        data_dir=billers.data_dir,
    )
    at = institutions()
    connectors = Connectors(engine, settings, at)
    lookups = LookingUpProcess(engine, connectors, at)
    yield Hall(engine, billers, connectors, lookups)
    await lookups.drain()
    await lookups.aclose()
    await connectors.aclose()
    billers.clear_faults()

"""Connectors as a process holds them: from the catalogue, which says how much each biller bears."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Institutions
from services.billing.bills.connectors import Connectors, Measured, UnknownBillerError, registry
from services.billing.bills.connectors.dialect import BillerEndpoint
from services.billing.bills.connectors.file import FileConnector
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    BillerDown,
    BillerUnknown,
    Found,
    NotApplied,
    NothingOwed,
    Unapplied,
)
from services.billing.institutions import of_biller
from services.billing.settings import Settings
from tests.services.billing.bills.connectors.conftest import (
    Customers,
)
from tests.support.billers import SandboxBillers

DEAD, WELL, OTHER = "hz-water", "sh-water", "cd-water"
KEEP = text("""
    INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en, timeout_ms, max_concurrency)
    VALUES (:id, :name_zh, :name_en, :currency, :settled_by, CAST(:connector AS jsonb), :account_number_pattern,
        :account_number_hint_zh, :account_number_hint_en, :timeout_ms, :max_concurrency)
    ON CONFLICT (id) DO UPDATE SET connector = excluded.connector, max_concurrency = excluded.max_concurrency
""")


async def keep(engine: AsyncEngine, row: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        await connection.execute(KEEP, {**row, "connector": json.dumps(row["connector"])})


@pytest.fixture(autouse=True)
def well_again(billers: SandboxBillers) -> Iterator[None]:
    yield
    billers.clear_faults()


@pytest.fixture
def rows(billers: SandboxBillers) -> dict[str, dict[str, Any]]:
    """The catalogue's billers, by id."""
    return {row["id"]: row for row in billers.rows if row["kind"] == "biller"}


@pytest.fixture
async def connectors(
    engine: AsyncEngine, billers: SandboxBillers, rows: dict[str, dict[str, Any]]
) -> AsyncIterator[Connectors]:
    for row in rows.values():
        await keep(engine, {**row, "timeout_ms": 3_000, "max_concurrency": 4})
    settings = Settings(
        database_url="postgresql+asyncpg://unused",
        biller_secrets=billers.secrets_path,
        data_dir=billers.data_dir,
    )
    made = Connectors(engine, settings, Institutions())
    yield made
    await made.aclose()


async def test_every_biller_of_the_catalogue_answers(
    connectors: Connectors, billers: SandboxBillers, rows: dict[str, dict[str, Any]]
) -> None:
    for biller, row in rows.items():
        connector = await connectors.of(biller)
        if row["settled_by"] == "file":
            assert isinstance(connector.inner, FileConnector)
            continue
        assert isinstance(await connector.lookup(billers.accounts(biller)[0]), Found), biller
        assert isinstance(
            await connector.lookup(billers.accounts(biller, owing=False)[-1]), NothingOwed
        )


async def test_a_dead_biller_holds_up_no_other_biller(
    connectors: Connectors, billers: SandboxBillers
) -> None:
    billers.add_fault(DEAD, "*", "timeout_before", probability=1.0)
    dead = await connectors.of(DEAD)
    account = billers.accounts(DEAD)[0]
    waiting = [
        asyncio.create_task(dead.apply(Application(uuid.uuid4().hex, account, "x", 1, "CNY")))
        for _ in range(40)
    ]
    for biller in (WELL, OTHER):
        well = await connectors.of(biller)
        accounts = billers.accounts(biller, limit=100)
        answers = await asyncio.gather(*(well.lookup(number) for number in accounts))
        assert all(isinstance(answer, Found) for answer in answers)
    # All were served before the dead one's first places, four at a time for three seconds, came free.
    assert not any(task.done() for task in waiting)
    assert billers.fired()[f"{DEAD}:apply:timeout_before"] >= 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_only_lookups_are_tried_again(billers: SandboxBillers, customer: Customers) -> None:
    who = await customer("json")
    connector = Measured(DEAD, who.dialect)

    def fired(operation: str) -> int:
        return billers.fired().get(f"{DEAD}:{operation}:error_500_before", 0)

    application = who.application()
    before = {each: fired(each) for each in ("lookup", "apply", "query", "unapply")}
    for operation in before:
        billers.add_fault(DEAD, operation, "error_500_before")
    assert isinstance(await connector.lookup(who.account_number), Found)
    assert isinstance(await connector.apply(application), BillerUnknown)
    assert isinstance(await connector.query(application), BillerUnknown)
    assert isinstance(await connector.unapply(application), BillerUnknown)
    assert {each: fired(each) - before[each] for each in before} == dict.fromkeys(before, 1)
    assert await connector.query(application) == NotApplied()


async def test_a_changed_row_is_picked_up_and_says_how_much_the_biller_bears(
    engine: AsyncEngine,
    billers: SandboxBillers,
    rows: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "REFRESH_SECONDS", 0.0)
    await keep(engine, {**rows[WELL], "timeout_ms": 3_000, "max_concurrency": 4})
    settings = Settings(database_url="postgresql+asyncpg://unused", data_dir=billers.data_dir)
    at = Institutions()
    connectors = Connectors(engine, settings, at)
    first = await connectors.of(WELL)
    assert await connectors.of(WELL) is first
    described = at.of(of_biller(WELL))
    assert (described.places, described.longest_call_seconds) == (4, 3.0)
    assert described.late_effect_seconds == 120
    await keep(engine, {**rows[WELL], "max_concurrency": 7})
    assert await connectors.of(WELL) is not first
    assert at.of(of_biller(WELL)) is described, "what is under way there goes on"
    assert described.places == 7
    await connectors.aclose()


async def test_a_biller_that_cannot_be_called_is_named(
    connectors: Connectors, engine: AsyncEngine, rows: dict[str, dict[str, Any]]
) -> None:
    with pytest.raises(UnknownBillerError, match="no biller 'nobody'"):
        await connectors.of("nobody")
    await keep(engine, {**rows[WELL], "id": "odd", "connector": {"dialect": "telex", "url": "x"}})
    with pytest.raises(UnknownBillerError, match="'odd'"):
        await connectors.of("odd")
    await keep(engine, {**rows[WELL], "id": "no-secret"})
    bare = await connectors.of("no-secret")
    assert await bare.lookup("1") == BillerDown("we share no secret with this biller")
    assert isinstance(await bare.unapply(Application("1", "1", "b", 1, "CNY")), BillerUnknown)


async def test_a_payment_survives_a_biller_that_dies_after_it_has_applied(
    connectors: Connectors, billers: SandboxBillers, customer: Customers
) -> None:
    who = await customer("json")
    connector = await connectors.of(DEAD)
    application = who.application()
    billers.add_fault(DEAD, "apply", "reset_after")
    assert isinstance(await connector.apply(application), BillerUnknown)
    assert isinstance(await connector.query(application), Applied)
    assert await connector.unapply(application) == Unapplied()


def test_secrets_do_not_show() -> None:
    assert "shared" not in repr(BillerEndpoint("x", "http://x", "shared", "CNY", 1.0))

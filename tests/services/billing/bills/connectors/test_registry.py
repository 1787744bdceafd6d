"""Connectors as a process holds them: from the catalogue, each in a bulkhead of its own."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.connectors import Bulkhead, Connectors, UnknownBillerError, registry
from services.billing.bills.connectors.breaker import Breaker
from services.billing.bills.connectors.dialect import Endpoint
from services.billing.bills.connectors.file import FileConnector
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.json_http import JsonHttp
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    BillerDown,
    BillerUnknown,
    Found,
    NoSuchAccount,
    NotApplied,
    NothingOwed,
    Unapplied,
)
from services.billing.settings import Settings
from tests.services.billing.bills.connectors.conftest import (
    Customers,
    Stranger,
    response,
    speaker,
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
    made = Connectors(engine, settings)
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


async def test_a_dead_biller_holds_up_nobody_else(
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


async def test_a_biller_gets_no_more_calls_at_once_than_it_has_places(
    client: HttpClient, stranger: Stranger
) -> None:
    stranger.answer = response(b'{"status":"NOT_APPLIED","serial":"s"}')
    stranger.hold = asyncio.Event()
    inner = JsonHttp(client, Endpoint("stranger", stranger.url, "secret", "CNY", 10.0))
    bulkhead = Bulkhead("stranger", inner, 3, Breaker())
    application = Application("s", "1", "b", 1, "CNY")
    calls = [asyncio.create_task(bulkhead.query(application)) for _ in range(12)]
    async with asyncio.timeout(10):
        await stranger.asked.wait()
        stranger.hold.set()
        assert await asyncio.gather(*calls) == [NotApplied()] * 12
    assert 1 <= stranger.most_at_once <= 3


async def test_nobody_waits_for_a_place_for_ever(
    client: HttpClient, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(registry, "LOOKUP_PATIENCE_SECONDS", 0.1)
    stranger.answer = response(b'{"status":"OK","serial":"s","amount_minor":1,"reference":"R"}')
    stranger.hold = asyncio.Event()
    inner = JsonHttp(client, Endpoint("stranger", stranger.url, "secret", "CNY", 10.0))
    breaker = Breaker(failures=1)
    bulkhead = Bulkhead("stranger", inner, 1, breaker)
    application = Application("s", "1", "b", 1, "CNY")
    first = asyncio.create_task(bulkhead.apply(application))
    async with asyncio.timeout(10):
        await stranger.asked.wait()
        taken = "all places at this biller are taken"
        assert await bulkhead.apply(application) == BillerUnknown(taken)
        assert await bulkhead.unapply(application) == BillerUnknown(taken)
        assert await bulkhead.lookup("1") == BillerDown(taken)
        stranger.hold.set()
        assert await first == Applied("R")
    # Nothing of it was sent, and it says nothing about the biller.
    assert stranger.requests == 1
    assert breaker.state == "closed"


async def test_only_lookups_are_tried_again(billers: SandboxBillers, customer: Customers) -> None:
    who = await customer("json")
    bulkhead = Bulkhead(DEAD, who.dialect, 4, Breaker())

    def fired(operation: str) -> int:
        return billers.fired().get(f"{DEAD}:{operation}:error_500_before", 0)

    application = who.application()
    before = {each: fired(each) for each in ("lookup", "apply", "query", "unapply")}
    for operation in before:
        billers.add_fault(DEAD, operation, "error_500_before")
    assert isinstance(await bulkhead.lookup(who.account_number), Found)
    assert isinstance(await bulkhead.apply(application), BillerUnknown)
    assert isinstance(await bulkhead.query(application), BillerUnknown)
    assert isinstance(await bulkhead.unapply(application), BillerUnknown)
    assert {each: fired(each) - before[each] for each in before} == dict.fromkeys(before, 1)
    assert await bulkhead.query(application) == NotApplied()


async def test_a_biller_that_keeps_failing_is_left_alone_and_comes_back(
    billers: SandboxBillers, client: HttpClient
) -> None:
    now = [0.0]
    breaker = Breaker(failures=4, pause_seconds=5.0, clock=lambda: now[0])
    bulkhead = Bulkhead(OTHER, speaker(billers, client, OTHER), 8, breaker)
    account = billers.accounts(OTHER)[0]
    name = f"{OTHER}:lookup:down"
    before = billers.fired().get(name, 0)
    billers.add_fault(OTHER, "lookup", "down", probability=1.0)
    for _ in range(10):
        assert isinstance(await bulkhead.lookup(account), BillerDown)
    assert breaker.state == "open"
    assert billers.fired()[name] - before == 4
    # What marks a bill goes out whatever the breaker says.
    assert (
        await bulkhead.query(Application(uuid.uuid4().hex, account, "b", 1, "CNY")) == NotApplied()
    )
    now[0] = 5.0
    assert isinstance(await bulkhead.lookup(account), BillerDown)
    assert billers.fired()[name] - before == 5
    billers.clear_faults()
    assert isinstance(await bulkhead.lookup(account), BillerDown)
    now[0] = 10.0
    assert isinstance(await bulkhead.lookup(account), Found)
    assert breaker.state == "closed"


async def test_a_probe_that_is_cancelled_does_not_keep_the_breaker_open(
    client: HttpClient, stranger: Stranger
) -> None:
    now = [0.0]
    breaker = Breaker(failures=1, clock=lambda: now[0])
    breaker.report(answered=False)
    now[0] = 60.0
    stranger.hold = asyncio.Event()
    stranger.answer = response(b'{"status":"NO_ACCOUNT","account_number":"1"}')
    inner = JsonHttp(client, Endpoint("stranger", stranger.url, "secret", "CNY", 10.0))
    bulkhead = Bulkhead("stranger", inner, 2, breaker)
    probe = asyncio.create_task(bulkhead.lookup("1"))
    async with asyncio.timeout(10):
        await stranger.asked.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        stranger.hold.set()
        assert await bulkhead.lookup("1") == NoSuchAccount()


async def test_a_changed_row_is_picked_up_and_an_unchanged_one_keeps_its_bulkhead(
    connectors: Connectors,
    engine: AsyncEngine,
    rows: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "REFRESH_SECONDS", 0.0)
    first = await connectors.of(WELL)
    assert await connectors.of(WELL) is first
    await keep(engine, {**rows[WELL], "max_concurrency": 7})
    assert await connectors.of(WELL) is not first


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
    assert "shared" not in repr(Endpoint("x", "http://x", "shared", "CNY", 1.0))

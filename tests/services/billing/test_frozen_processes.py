"""A process that freezes inside a transaction does not stop other processes, and does no harm when it wakes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.frozen import LOOK_SECONDS
from errands import Booking, Institutions
from messaging.consumer.broker import SESSION_SECONDS
from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import HOST, free_port
from services.billing.audit import audit_database
from services.billing.institutions import PSP
from services.billing.payments.accept import accept
from tests.services.billing.payments import books
from tests.support.commands import SECRET, make_signing_key, send, signed
from tests.support.databases import Database
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    make_bill,
    make_biller,
    make_bills,
    make_channel,
    pay_bill,
)
from tests.support.frozen import frozen_at, needs_proc, seconds_until
from tests.support.psp import SandboxPsp

pytestmark = needs_proc

# The bound of a transaction, and what a busy machine needs.
MOST_SECONDS = 20.0
# When partitions have to move as well.
MOST_WITH_KAFKA_SECONDS = SESSION_SECONDS + 20.0
PAYABLE = "biller:power:payable"

Start = Callable[..., LocalProcess]


@pytest.fixture
async def start(database: Database, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts processes of billing and waits until they are ready; ends those that are left."""
    processes: list[LocalProcess] = []

    def start_one(name: str, **environment: str) -> LocalProcess:
        port = free_port()
        common = {
            "METERHALL_DATABASE_URL": database.billing_url,
            "METERHALL_COMMAND_SECRET": SECRET.decode(),
            "METERHALL_DATA_DIR": str(tmp_path),
            "METERHALL_WEB_PORT" if name == "web" else "METERHALL_METRICS_PORT": str(port),
        }
        processes.append(
            LocalProcess(
                name=f"{name}-{len(processes)}",
                module=f"services.billing.{name}",
                environment={**common, **environment},
                log=tmp_path / f"{name}-{len(processes)}.log",
                ready_url=f"http://{HOST}:{port}/readyz",
            )
        )
        processes[-1].launch()
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()


async def test_a_frozen_worker_lets_go_of_wallets_and_the_others_go_on(
    engine: AsyncEngine, owner_engine: AsyncEngine, kafka: str, start: Start
) -> None:
    await make_channel(engine)
    await make_biller(engine)
    await fund_wallet(engine, 1_000_000)
    key = await make_signing_key(engine, CHANNEL)
    workers = {
        each.name: each for each in (start("worker", METERHALL_KAFKA=kafka) for _ in range(2))
    }
    paid: list[UUID] = []

    async def pay(number: int) -> None:
        records = [signed(pay_bill(bill).command, key) for bill in await make_bills(engine, number)]
        paid.extend(UUID(each.key.decode()) for each in records)
        await send(kafka, *records)

    async def all_paid() -> bool:
        rows = [await found(engine, id) for id in paid]
        return rows == ["succeeded"] * len(paid)

    await pay(24)
    await seconds_until(all_paid, 60)
    # Its batch has locked the wallet when it runs into this.
    lock = f"SELECT FROM ledger_accounts WHERE address = '{PAYABLE}' FOR UPDATE"
    pids = {name: each.pid for name, each in workers.items()}
    async with frozen_at(engine, owner_engine, lock, pids, lambda: pay(1)) as name:
        assert await is_locked(engine), "the frozen worker has the wallet"
        await pay(24)
        held = await seconds_until(lambda: is_free(engine), MOST_SECONDS)
        took = held + await seconds_until(all_paid, MOST_WITH_KAFKA_SECONDS)
    print(f"the wallet was held for {held:.1f} s, everything was paid after {took:.1f} s")

    await pay(24)
    await seconds_until(all_paid, 30)
    assert workers[name].alive(), "it goes on as one of the group"
    assert await books.balance(engine, "wallet:city-app:payer-1") == (
        1_000_000 - len(paid) * 8_850,
        0,
    )
    assert await books.balance(engine, PAYABLE) == (len(paid) * 8_850, 0)
    await books.audit(engine)
    violations = await audit_database(engine)
    # No relay runs here.
    assert [each for each in violations if "not published" not in each.what] == []


async def test_a_frozen_timer_lets_go_of_what_it_has_claimed(
    engine: AsyncEngine, owner_engine: AsyncEngine, start: Start, psp: SandboxPsp
) -> None:
    await make_channel(engine)
    await make_biller(engine)
    command = pay_bill(await make_bill(engine), method="pm_card_visa")
    id = command.command.payment_id
    outside = {"METERHALL_PSP_URL": psp.url, "METERHALL_PSP_API_KEY": psp.api_key}

    async def leave_a_payment_open() -> None:
        full = Institutions()
        full.of(PSP).rows_wait = True
        async with engine.begin() as connection:
            await accept(connection, [command], Booking(full))

    async def is_paid() -> bool:
        return await found(engine, id) == "succeeded"

    first = start("timer", **outside)
    # It reads the bills of the errands that it has claimed.
    lock = "LOCK TABLE bills IN ACCESS EXCLUSIVE MODE"
    pids = {first.name: first.pid}
    await asyncio.to_thread(first.wait_ready)
    await leave_a_payment_open()
    async with frozen_at(engine, owner_engine, lock, pids, nothing):
        start("timer", **outside)
        took = await seconds_until(is_paid, MOST_SECONDS)
    print(f"the payment was paid after {took:.1f} s")

    await asyncio.sleep(1)
    assert first.alive()
    assert await found(engine, id) == "succeeded"
    assert len(psp.book(id)["captures"]) == 1
    await books.audit(engine)


@pytest.mark.parametrize("table", ["bills", "payment_requests"], ids=["a statement", "a COPY"])
async def test_a_frozen_web_process_lets_go_of_its_keys(
    engine: AsyncEngine, owner_engine: AsyncEngine, start: Start, table: str
) -> None:
    api_key = await make_channel(engine)
    await make_biller(engine)
    body = {
        "bill_id": str(await make_bill(engine)),
        "payer": "payer-1",
        "amount_minor": 8_850,
        "currency": "CNY",
        "funding": {"kind": "wallet"},
    }
    headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": uuid4().hex}
    webs = [start("web"), start("web")]
    for each in webs:
        await asyncio.to_thread(each.wait_ready)
    clients = [
        httpx.AsyncClient(
            base_url=each.ready_url.removesuffix("/readyz"), headers=headers, timeout=60
        )
        for each in webs
    ]
    lines: list[asyncio.Task[httpx.Response]] = []

    async def ask_the_first() -> None:
        lines.append(asyncio.create_task(clients[0].post("/v1/payments", json=body)))

    answers: list[httpx.Response] = []

    async def accepted_by_the_second() -> bool:
        answers.append(await clients[1].post("/v1/payments", json=body))
        return answers[-1].status_code == 202

    # The key is claimed, then the bill is read, then the promise is written.
    lock = f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
    async with frozen_at(engine, owner_engine, lock, {webs[0].name: webs[0].pid}, ask_the_first):
        took = await seconds_until(accepted_by_the_second, MOST_SECONDS + LOOK_SECONDS)
    print(f"the same key was accepted elsewhere after {took:.1f} s")
    for refused in [*answers[:-1], await lines[0]]:
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"

    again = await clients[0].post("/v1/payments", json=body)
    assert again.status_code == 202
    assert again.json() == answers[-1].json()
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM payment_requests")) == 1
    for client in clients:
        await client.aclose()


async def nothing() -> None:
    """There is nothing to do: the process runs into the lock by itself."""


async def found(engine: AsyncEngine, id: UUID) -> str | None:
    """The state of a payment; None when there is none."""
    async with engine.connect() as connection:
        state: str | None = await connection.scalar(
            text("SELECT state FROM payments WHERE id = :id"), {"id": id}
        )
        return state


async def is_locked(engine: AsyncEngine) -> bool:
    """Return True when the wallet is locked."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT id FROM ledger_accounts WHERE address LIKE 'wallet:%' FOR UPDATE SKIP LOCKED"
            )
        )
        return not rows.all()


async def is_free(engine: AsyncEngine) -> bool:
    """Return True when the wallet is not locked."""
    return not await is_locked(engine)

"""Lookups over HTTP: asked at the door, answered by a worker, told to the channel that asked and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from chassis.http import problems
from events.bills import LookUpBills
from events.ids import uuid7
from services.billing.bills.routes import router, wait_seconds
from services.billing.channels import create_channel, issue_key
from services.billing.instruction import Instruction
from tests.services.billing.bills.conftest import CHANNEL, Hall
from tests.support.commands import DOOR_KEY


@dataclass
class Wallet:
    """A wallet app that speaks HTTP, and a worker that it can set to work."""

    hall: Hall
    http: httpx.AsyncClient
    seen: set[UUID] = field(default_factory=set)

    async def look_up(
        self, biller: str, number: str, *, key: str | None = None, prefer: str | None = None
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key or uuid7().hex}
        if prefer:
            headers["Prefer"] = prefer
        body = {"biller_id": biller, "account_number": number}
        return await self.http.post("/v1/lookups", json=body, headers=headers)

    async def work(self) -> int:
        """Have the worker carry out the commands that came through the outbox; how many were new."""
        rows = await self.hall.rows("SELECT payload FROM outbox WHERE type = 'LookUpBills.v1'")
        commands = [LookUpBills.model_validate_json(row.payload) for row in rows]
        fresh = [each for each in commands if each.lookup_id not in self.seen]
        self.seen |= {each.lookup_id for each in fresh}
        await self.hall.lookups.look_up([Instruction(each) for each in fresh])
        await self.hall.lookups.drain()
        while await self.hall.lookups.resume():
            await self.hall.lookups.drain()
        return len(fresh)

    async def work_until_told(self) -> None:
        while True:
            await self.work()
            await asyncio.sleep(0.02)


@pytest.fixture
async def app(hall: Hall) -> FastAPI:
    made = FastAPI()
    made.state.engine = hall.engine
    made.state.door_key = DOOR_KEY
    problems.install(made)
    made.include_router(router)
    return made


@pytest.fixture
async def wallet(hall: Hall, app: FastAPI) -> AsyncIterator[Wallet]:
    async with hall.engine.begin() as connection:
        key = await issue_key(connection, CHANNEL)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://hall",
        headers={"Authorization": f"Bearer {key}"},
    ) as http:
        yield Wallet(hall, http)


async def test_a_lookup_is_promised_carried_out_and_followed(hall: Hall, wallet: Wallet) -> None:
    number = hall.fresh("bj-heating")  # takes amounts in a range
    hall.billers.issue_bill("bj-heating", number, 60_000)
    promised = await wallet.look_up("bj-heating", number)
    assert promised.status_code == 202, promised.text
    body = promised.json()
    assert (body["status"], body["bills"]) == ("processing", [])
    assert promised.headers["location"] == f"/v1/lookups/{body['id']}"
    assert await wallet.work() == 1
    answer = await wallet.http.get(promised.headers["location"])
    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["biller_id"]) == ("found", "bj-heating")
    bill = next(each for each in found["bills"] if each["amount_minor"] == 60_000)
    assert (bill["rule"], bill["min_minor"], bill["max_minor"]) == ("range", 30_000, 120_000)
    assert bill["payable"] is True and bill["currency"] == "CNY"
    assert number not in answer.text
    alone = await wallet.http.get(f"/v1/bills/{bill['id']}")
    assert alone.json() == bill


@pytest.mark.parametrize(
    ("number", "fault", "status"),
    [
        (None, None, "nothing_owed"),
        ("0000000000", None, "no_such_account"),
        (None, "down", "biller_down"),
    ],
)
async def test_what_is_not_found_is_told_apart(
    hall: Hall, wallet: Wallet, number: str | None, fault: str | None, status: str
) -> None:
    if fault:
        hall.billers.add_fault("hz-water", "lookup", fault, times=2)
    promised = await wallet.look_up("hz-water", number or hall.fresh("hz-water", owing=False))
    await wallet.work()
    answer = (await wallet.http.get(promised.headers["location"])).json()
    assert (answer["status"], answer["bills"]) == (status, [])
    assert answer["reason"] == ("biller_down" if fault else None)


async def test_a_wallet_may_wait_for_the_answer(hall: Hall, wallet: Wallet) -> None:
    worker = asyncio.create_task(wallet.work_until_told())
    try:
        numbers = [hall.fresh("hz-water") for _ in range(20)]
        answers = await asyncio.gather(
            *(wallet.look_up("hz-water", number, prefer="wait=9") for number in numbers)
        )
    finally:
        worker.cancel()
    assert {each.status_code for each in answers} == {200}
    assert {each.json()["status"] for each in answers} == {"found"}
    assert {each.headers["preference-applied"] for each in answers} == {"wait=9"}


@pytest.mark.alone
async def test_waiting_ends_when_the_time_is_over(hall: Hall, wallet: Wallet) -> None:
    began = asyncio.get_running_loop().time()
    answer = await wallet.look_up("hz-water", hall.fresh("hz-water"), prefer="wait=1")
    took = asyncio.get_running_loop().time() - began
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert 1.0 <= took < 3.0
    await wallet.work()
    assert (await wallet.http.get(answer.headers["location"])).json()["status"] == "found"


def test_meaning_of_the_prefer_header() -> None:
    lines = [
        "wait=5",
        "respond-async, wait=5",
        "WAIT = 5",
        "wait=99",
        "wait=x",
        "",
        None,
        "nowait=5",
    ]
    assert [wait_seconds(each) for each in lines] == [5, 5, 5, 10, 0, 0, 0, 0]


async def test_an_account_number_of_another_form_is_refused_in_two_languages(
    hall: Hall, wallet: Wallet
) -> None:
    for number in ("123", "12345678901", "1234567890\n", "' OR 1=1 --"):
        answer = await wallet.look_up("hz-water", number)
        body = answer.json()
        assert answer.status_code == 422, number
        assert body["type"] == "/problems/account-number-invalid"
        assert body["hint_en"] == "10 digits, on the water bill"
        assert body["hint_zh"] in body["detail"] and body["hint_en"] in body["detail"]
        assert number not in answer.text
    assert await hall.rows("SELECT id FROM accounts") == []
    assert await hall.rows("SELECT key FROM idempotency_keys") == []


async def test_an_account_number_that_can_not_be_kept_is_refused_whatever_the_pattern(
    hall: Hall, wallet: Wallet
) -> None:
    async with hall.engine.begin() as connection:
        await connection.execute(
            text("UPDATE billers SET account_number_pattern = '(?s).*' WHERE id = 'hz-water'")
        )
    for number in ("1\0", "1\x1f", "1\x7f"):
        answer = await wallet.look_up("hz-water", number)
        assert answer.status_code == 422, number
        assert answer.json()["type"] == "/problems/account-number-invalid"
    assert (await wallet.look_up("hz-water", "1" * 65)).status_code == 422
    assert (await wallet.look_up("hz-water", "刘" * 64)).status_code == 202


async def test_an_unknown_or_inactive_biller_is_not_found(hall: Hall, wallet: Wallet) -> None:
    async with hall.engine.begin() as connection:
        await connection.execute(text("UPDATE billers SET active = false WHERE id = 'cd-gas'"))
    for biller, number in (("nobody", "1"), ("cd-gas", "AB1234567")):
        answer = await wallet.look_up(biller, number)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/biller-unknown")


async def test_the_same_key_is_the_same_lookup(hall: Hall, wallet: Wallet) -> None:
    number = hall.fresh("hz-water")
    first = await wallet.look_up("hz-water", number, key="k1")
    await wallet.work()
    again = await wallet.look_up("hz-water", number, key="k1")
    assert again.json()["id"] == first.json()["id"]
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["status"] == "found"
    assert await wallet.work() == 0, "a replay asks nobody"
    other = await wallet.look_up("hz-water", hall.fresh("hz-water"), key="k1")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    body = {"biller_id": "hz-water", "account_number": number}
    keyless = await wallet.http.post("/v1/lookups", json=body)
    assert keyless.status_code == 400


async def test_another_channel_sees_nothing(hall: Hall, wallet: Wallet) -> None:
    mine = await wallet.look_up("hz-water", hall.fresh("hz-water"))
    async with hall.engine.begin() as connection:
        await create_channel(connection, "other", "Another wallet")
        key = await issue_key(connection, "other")
    address = mine.headers["location"]
    theirs = await wallet.http.get(address, headers={"Authorization": f"Bearer {key}"})
    assert (theirs.status_code, theirs.json()["type"]) == (404, "/problems/not-found")
    stranger = await wallet.http.get(address, headers={"Authorization": "Bearer mh_x_y"})
    assert stranger.status_code == 401
    assert (await wallet.http.get(f"/v1/bills/{uuid7()}")).status_code == 404


async def test_accounts_have_ids_for_wallets_on_kafka(hall: Hall, wallet: Wallet) -> None:
    number = hall.fresh("sh-water")
    body = {"biller_id": "sh-water", "account_number": number}
    ids = [(await wallet.http.post("/v1/accounts", json=body)).json()["id"] for _ in range(3)]
    assert len(set(ids)) == 1
    command = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=UUID(ids[0]))
    await hall.look_up(command)
    seen = (await wallet.http.get(f"/v1/lookups/{command.lookup_id}")).json()
    assert (seen["status"], seen["account_id"]) == ("found", ids[0])
    wrong: dict[str, Any] = {**body, "account_number": "x"}
    assert (await wallet.http.post("/v1/accounts", json=wrong)).status_code == 422


async def test_a_bill_is_payable_while_nothing_speaks_against_it(
    hall: Hall, wallet: Wallet
) -> None:
    number = hall.fresh("hz-water", owing=False)
    for amount in (100, 200, 300, 400):
        hall.billers.issue_bill("hz-water", number, amount, period=f"2026-0{amount // 100}")
    promised = await wallet.look_up("hz-water", number)
    await wallet.work()
    address = promised.headers["location"]
    bills = {
        each["amount_minor"]: each["id"]
        for each in (await wallet.http.get(address)).json()["bills"]
    }
    account_id = promised.json()["account_id"]
    async with hall.engine.begin() as connection:
        await connection.execute(
            text("UPDATE bills SET expires_at = now() WHERE id = :id"), {"id": bills[100]}
        )
        await connection.execute(
            text("UPDATE bills SET closed_at = now() WHERE id = :id"), {"id": bills[200]}
        )
        await connection.execute(
            text("""INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency,
                    funding, payment_method, request_hash, state, captured_minor, version)
                VALUES (gen_random_uuid(), 'demo-wallet', 'p', :bill, 'hz-water', :account, 300, 'CNY', 'psp',
                    'pm_card_visa', sha256('x'), 'accepted', 0, 1)"""),
            {"bill": bills[300], "account": account_id},
        )
    answer = (await wallet.http.get(address)).json()
    assert (
        json.dumps([each["amount_minor"] for each in answer["bills"] if each["payable"]]) == "[400]"
    )
    assert len(answer["bills"]) == 4

"""A PSP whose answers hold what nobody can keep, in any text, at any call: what it says about money still counts, and a
bill is never held for words.

The sandbox's PSP answers through a proxy that changes one text of every answer.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import text

from services.billing.psp import Psp
from services.billing.psp.wire import WireBalanceTransaction, WireIntent, WireProblem, WireRefund
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.errands import PayingProcess
from tests.support.factories import pay_bill, refund_payment, top_up_wallet
from tests.support.psp import RETURN_URL

ASKS = "pm_card_authenticationRequired"
HOSTILE = {
    "NUL": '"a\\u0000b"',
    "half of a pair": '"a\\ud800b"',
    "a megabyte": json.dumps("x" * 1_000_000),
    "lines and controls": '"a\\nb\\u001b[2J\\u007f\\u202e"',
}


def texts(model: type[BaseModel]) -> Iterator[str]:
    """The names of all texts that we read of an answer, at whatever depth."""
    for name, field in model.model_fields.items():
        yield from _names(name, field.annotation)


def _names(name: str, annotation: Any) -> Iterator[str]:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield from texts(each)
        elif each is str:
            yield name
        elif each is not annotation:
            yield from _names(name, each)


# `url` stands inside `next_action`, whose shape depends on the method.
NAMES = sorted({"url", *(n for m in (WireIntent, WireRefund, WireProblem) for n in texts(m))})


class Proxy:
    """Between our client and the PSP: changes the texts of one name in every answer."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.name = ""
        self.value = '""'
        self.changed = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        url = f"{self._target}{request.raw_path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body or None, headers=headers) as answer,
        ):
            content = self._changed(await answer.json())
            return web.Response(body=content, status=answer.status, content_type="application/json")

    def _changed(self, answer: Any) -> bytes:
        mark = "HERE-STANDS-WHAT-IS-HOSTILE"
        return json.dumps(self._marked(answer, mark)).replace(f'"{mark}"', self.value).encode()

    def _marked(self, said: Any, mark: str) -> Any:
        if isinstance(said, list):
            return [self._marked(each, mark) for each in said]
        if not isinstance(said, dict):
            return said
        made: dict[str, Any] = {}
        for name, value in said.items():
            if name == self.name and isinstance(value, str):
                made[name] = mark
                self.changed += 1
            elif name == self.name and isinstance(value, dict):  # metadata
                made[name] = dict.fromkeys(value, mark)
                self.changed += 1
            else:
                made[name] = self._marked(value, mark)
        return made


@pytest.fixture
async def proxy(city: City) -> AsyncIterator[Proxy]:
    made = Proxy(city.psp.url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = Psp(f"http://127.0.0.1:{port}", city.psp.api_key, return_url=RETURN_URL)
    city.client = client
    city.payments = PayingProcess(city.engine, client, city.connectors, city.institutions)
    yield made
    await city.payments.drain()
    await client.aclose()
    await runner.cleanup()


def test_all_texts_are_looked_at() -> None:
    assert {"code", "decline_code", "message", "status", "id", "failure_reason", "type"} <= {*NAMES}
    assert "reporting_category" in {*texts(WireBalanceTransaction)}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
async def test_words_that_can_not_be_kept_hold_no_bill(
    city: City, proxy: Proxy, value: str
) -> None:
    for name in NAMES:
        # Its refund fails, and says why.
        paid = (await city.pay(pay_bill(await city.bill(), method="pm_card_refundFail")))["id"]
        proxy.name, proxy.value, proxy.changed = name, value, 0
        pays = [
            pay_bill(await city.bill(), method=method)
            for method in ("pm_card_visa", "pm_card_chargeDeclined", ASKS)
        ]
        top_ups = [
            top_up_wallet(method=method)
            for method in ("pm_card_visa", "pm_card_chargeDeclined", ASKS)
        ]
        await city.payments.pay(pays)
        await city.payments.top_up(top_ups)
        await city.payments.refund([refund_payment(paid, 850)])
        await city.settle(rounds=2)
        assert proxy.changed, f"{name} is in no answer"
        proxy.name = ""
        await city.settle(rounds=6)
        states = [(await books.payment(city.engine, p.command.payment_id))["state"] for p in pays]
        assert states[0] in {"succeeded", "voided"}, (name, states)
        assert states[1] == "declined", (name, states)
        assert states[2] in {"accepted", "declined"}, (name, states)
        await city.agree(pays[0].command.payment_id)
        await city.agree(pays[1].command.payment_id)
    async with city.engine.connect() as connection:
        lost = await connection.execute(
            text("SELECT kind, note FROM cases WHERE kind IN ('unrecorded_result', 'failed_call')")
        )
        assert lost.all() == []
    await books.audit(city.engine)


# With half of a pair in it, an answer is no JSON, and says nothing.
@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"half of a pair"}))
async def test_a_page_that_can_not_be_shown_lets_the_bill_go(
    city: City, proxy: Proxy, kind: str
) -> None:
    proxy.name, proxy.value = "url", HOSTILE[kind]
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    assert (row["state"], row["reason"]) == ("declined", "no_action_page")
    requested = top_up_wallet(method=ASKS)
    await city.payments.top_up([requested])
    await city.payments.drain()
    top_up = await books.top_up(city.engine, requested.command.top_up_id)
    assert (top_up["state"], top_up["reason"]) == ("declined", "no_action_page")
    await city.agree(row["id"])


async def test_a_decline_code_that_can_not_be_kept_is_still_a_decline(
    city: City, proxy: Proxy
) -> None:
    for kind in sorted(HOSTILE.keys() - {"half of a pair"}):
        proxy.name, proxy.value = "decline_code", HOSTILE[kind]
        row = await city.pay(pay_bill(await city.bill(), method="pm_card_chargeDeclined"))
        assert row["state"] == "declined"
        assert len(row["reason"]) <= 64

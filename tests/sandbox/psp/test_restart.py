"""The PSP never forgets a response, and the same seed gives the same ids."""

import asyncio
import uuid
from pathlib import Path

import httpx

from tests.sandbox.psp.conftest import Api, a_payment
from tests.support.psp import SandboxPsp


async def test_a_killed_psp_remembers_what_it_answered(own_psp: SandboxPsp, own_api: Api) -> None:
    answered: dict[str, str] = {}

    async def pay_until_it_dies() -> None:
        while True:
            key = str(uuid.uuid4())
            form = a_payment(**{"metadata[charge_id]": key})
            try:
                answer = await own_api.post("/v1/payment_intents", form, key)
            except httpx.HTTPError:
                return
            answered[key] = answer.text

    payers = [asyncio.create_task(pay_until_it_dies()) for _ in range(8)]
    while len(answered) < 200:
        await asyncio.wait(payers, timeout=0.02)
    own_psp.kill()
    await asyncio.gather(*payers)
    own_psp.start()

    captured = [line["charge_id"] for line in own_psp.book()["captures"]]
    assert len(captured) == len(set(captured))
    assert set(answered) <= set(captured)
    for key, text in list(answered.items())[:20]:
        form = a_payment(**{"metadata[charge_id]": key})
        assert (await own_api.post("/v1/payment_intents", form, key)).text == text


async def test_faults_clock_and_webhooks_are_remembered(own_psp: SandboxPsp) -> None:
    own_psp.add_fault("capture", "refuse", times=3)
    own_psp.advance_clock(86_400)
    own_psp.set_webhooks(url="http://127.0.0.1:9/hooks", duplicates=2)
    async with httpx.AsyncClient(base_url=own_psp.url) as http:
        before = (await http.get("/sandbox/faults")).json()
        own_psp.stop()
        own_psp.start()
        assert (await http.get("/sandbox/faults")).json() == before
        assert (await http.post("/sandbox/clock", json={"advance_seconds": 0})).json()["now"] > 0
    assert own_psp.webhooks()["settings"]["duplicates"] == 2
    assert before["faults"][0]["times"] == 3


async def test_the_same_seed_makes_the_same_ids(tmp_path: Path) -> None:
    drawn = []
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):
        with SandboxPsp(tmp_path / folder, seed=seed) as provider:
            api = Api(provider)
            paid = await api.pay()
            refund = await api.post("/v1/refunds", {"payment_intent": paid["id"]})
            drawn.append((paid["id"], paid["latest_charge"], refund.json()["id"]))
            await api.http.aclose()
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


async def test_a_restart_draws_no_id_twice(own_psp: SandboxPsp, own_api: Api) -> None:
    first = (await own_api.pay())["id"]
    own_psp.stop()
    own_psp.start()
    assert (await own_api.pay())["id"] != first

"""The PSP's own sums: fees, balance, payouts, refunds that fail, holds that end; and races for one payment's money."""

import asyncio
import uuid
from typing import Any

from tests.sandbox.psp.conftest import Api
from tests.support.psp import SandboxPsp


async def lines(api: Api, **params: str) -> list[Any]:
    answer: list[Any] = (await api.get("/v1/balance_transactions", limit="100", **params))["data"]
    return answer


async def available(api: Api) -> dict[str, int]:
    balance = await api.get("/v1/balance")
    return {one["currency"]: one["amount"] for one in balance["available"]}


async def test_a_payout_sweeps_what_is_due_and_names_its_lines(
    own_psp: SandboxPsp, own_api: Api
) -> None:
    assert own_psp.pay_out() is None
    paid = await own_api.pay(amount="10000")
    other = await own_api.pay(amount="300", currency="usd")
    refund = await own_api.post("/v1/refunds", {"payment_intent": paid["id"], "amount": "4000"})
    assert await available(own_api) == {"cny": 10_000 - 60 - 4_000, "usd": 300 - 2}

    payout = own_psp.pay_out()
    assert payout is not None
    assert (payout["amount"], payout["currency"]) == (5_940, "cny")
    of_payout = await lines(own_api, payout=payout["id"], **{"expand[]": "data.source"})
    assert {line["type"]: line["net"] for line in of_payout} == {
        "charge": 9_940,
        "refund": -4_000,
        "payout": -5_940,
    }
    assert sum(line["net"] for line in of_payout) == 0
    by_type = {line["type"]: line["source"] for line in of_payout}
    assert by_type["charge"]["payment_intent"] == paid["id"]
    assert by_type["refund"]["id"] == refund.json()["id"]
    assert by_type["payout"]["id"] == payout["id"]

    assert await available(own_api) == {"usd": 298}
    assert own_psp.pay_out() is None
    assert own_psp.pay_out("usd") is not None
    assert [line["type"] for line in await lines(own_api)].count("charge") == 2
    assert other["id"] != paid["id"]


async def test_a_payout_by_hand_is_no_more_than_what_is_due(own_api: Api) -> None:
    await own_api.pay(amount="1000")
    form = {"amount": "995", "currency": "cny"}
    refused = await own_api.post("/v1/payouts", form)
    assert refused.json()["error"]["code"] == "balance_insufficient"
    paid = await own_api.post("/v1/payouts", {**form, "amount": "994"})
    assert paid.json()["status"] == "paid"
    assert await available(own_api) == {"cny": 0}


async def test_lines_by_time(own_psp: SandboxPsp, own_api: Api) -> None:
    first = await own_api.pay()
    own_psp.advance_clock(86_400)
    second = await own_api.pay()
    result = await lines(own_api)
    times = [line["created"] for line in result]
    assert times[0] - times[1] >= 86_400
    assert (second["created"], first["created"]) == (times[0], times[1])
    day = {"created[gte]": str(times[1]), "created[lt]": str(times[0])}
    assert [line["created"] for line in await lines(own_api, **day)] == [times[1]]
    assert await lines(own_api, **{"created[gt]": str(times[0])}) == []


async def test_a_refund_that_fails_gives_the_money_back_to_us(
    own_psp: SandboxPsp, own_api: Api
) -> None:
    paid = await own_api.pay(amount="1000")
    form = {"payment_intent": paid["id"], "amount": "1000"}
    refund = (await own_api.post("/v1/refunds", form)).json()
    assert await available(own_api) == {"cny": -6}
    own_psp.settle_refund(refund["id"], "failed")
    own_psp.settle_refund(refund["id"], "failed")
    assert await available(own_api) == {"cny": 994}
    response = await own_api.get(f"/v1/refunds/{refund['id']}")
    assert (response["status"], response["failure_reason"]) == ("failed", "declined")
    again = await own_api.post("/v1/refunds", form)
    assert again.json()["status"] == "succeeded"


async def test_a_hold_ends_after_seven_days(own_psp: SandboxPsp, own_api: Api) -> None:
    charge_id = str(uuid.uuid4())
    held = await own_api.pay(**{"capture_method": "manual", "metadata[charge_id]": charge_id})
    own_psp.advance_clock(7 * 86_400)
    path = f"/v1/payment_intents/{held['id']}"
    late = await own_api.post(f"{path}/capture", {})
    assert late.json()["error"]["code"] == "payment_intent_unexpected_state"
    assert (await own_api.get(path))["cancellation_reason"] == "automatic"
    assert [hold["status"] for hold in own_psp.book(charge_id)["holds"]] == ["released"]


async def test_concurrent_refunds_stay_within_the_capture(api: Api, psp: SandboxPsp) -> None:
    charge_id = str(uuid.uuid4())
    paid = await api.pay(**{"amount": "1000", "metadata[charge_id]": charge_id})
    form = {"payment_intent": paid["id"], "amount": "300"}
    answers = await asyncio.gather(*(api.post("/v1/refunds", form) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [400] * 5
    assert sum(line["amount_minor"] for line in psp.book(charge_id)["refunds"]) == 900


async def test_capture_and_void_at_once_do_one_of_both(api: Api, psp: SandboxPsp) -> None:
    for _ in range(5):
        charge_id = str(uuid.uuid4())
        held = await api.pay(**{"capture_method": "manual", "metadata[charge_id]": charge_id})
        path = f"/v1/payment_intents/{held['id']}"
        answers = await asyncio.gather(
            api.post(f"{path}/capture", {}), api.post(f"{path}/cancel", {})
        )
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        book = psp.book(charge_id)
        captured = book["holds"][0]["status"] == "captured"
        assert len(book["captures"]) == (1 if captured else 0)

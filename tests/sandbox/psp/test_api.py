"""Stripe's API as the sandbox speaks it: what it takes, what it refuses and how it says so."""

import base64
import uuid

import pytest

from tests.sandbox.psp.conftest import Api, Form, a_payment
from tests.support.psp import RETURN_URL, SandboxPsp


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"currency": "cny"}, "amount"),
        ({"amount": "5"}, "currency"),
        ({"amount": "0", "currency": "cny"}, "amount"),
        ({"amount": "-5", "currency": "cny"}, "amount"),
        ({"amount": "5.5", "currency": "cny"}, "amount"),
        ({"amount": "100000000", "currency": "cny"}, "amount"),
        ({"amount": "5", "currency": "zzz"}, "currency"),
        ({"amount": "5", "currency": "cny", "payer": "x"}, "payer"),
        ({"amount": "5", "currency": "cny", "confirm": "yes"}, "confirm"),
        ({"amount": "5", "currency": "cny", "confirm": "true"}, "payment_method"),
        ({"amount": "5", "currency": "cny", "capture_method": "later"}, "capture_method"),
        ({"amount": "5", "currency": "cny", "metadata": "x"}, "metadata"),
        ({"amount": "5", "currency": "cny", "metadata[a]": "x" * 501}, "metadata[a]"),
        ({"amount": "5", "currency": "cny", "payment_method": "pm_nobodys"}, "payment_method"),
        ({"amount": "5", "currency": "cny", "payment_method": "pm_fault_no"}, "payment_method"),
        (
            {
                "amount": "5",
                "currency": "cny",
                "confirm": "true",
                "payment_method": "pm_card_visa",
            },
            "return_url",
        ),
    ],
)
async def test_a_bad_parameter_is_named(api: Api, form: Form, param: str) -> None:
    answer = await api.post("/v1/payment_intents", form)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_who_has_no_key_gets_nothing(api: Api, psp: SandboxPsp) -> None:
    basic = base64.b64encode(f"{psp.api_key}:".encode()).decode()
    for header, status in (
        ("", 401),
        ("Bearer", 401),
        ("Bearer sk_test_strangers", 401),
        ("Basic !!", 401),
        (f"Bearer {psp.api_key}x", 401),
        (f"Basic {basic}", 200),
    ):
        answer = await api.http.get("/v1/balance", headers={"Authorization": header})
        assert answer.status_code == status, header
        assert psp.api_key not in answer.text


async def test_what_is_not_there_is_said_in_stripes_shape(api: Api) -> None:
    for path in ("/v1/nothing", "/v1/payment_intents/pi_0", "/v1/charges/ch_0", "/v1/events/x"):
        answer = await api.http.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"
    answer = await api.http.delete("/v1/payment_intents")
    assert answer.status_code == 405
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_step_by_step(api: Api) -> None:
    made = await api.post("/v1/payment_intents", {"amount": "500", "currency": "jpy"})
    intent = made.json()
    assert intent["status"] == "requires_payment_method"
    path = f"/v1/payment_intents/{intent['id']}/confirm"
    declined = await api.post(
        path, {"payment_method": "pm_card_chargeDeclined", "return_url": RETURN_URL}
    )
    assert declined.status_code == 402
    body = declined.json()["error"]
    assert (body["type"], body["code"]) == ("card_error", "card_declined")
    assert body["payment_intent"]["status"] == "requires_payment_method"
    assert body["payment_intent"]["last_payment_error"]["decline_code"] == "generic_decline"
    paid = await api.post(path, {"payment_method": "pm_card_visa", "return_url": RETURN_URL})
    assert (paid.json()["status"], paid.json()["amount_received"]) == ("succeeded", 500)
    again = await api.post(path, {"payment_method": "pm_card_visa", "return_url": RETURN_URL})
    assert again.json()["error"]["code"] == "payment_intent_unexpected_state"


async def test_a_part_is_captured_and_the_rest_let_go(api: Api, psp: SandboxPsp) -> None:
    charge_id = str(uuid.uuid4())
    held = await api.pay(**{"capture_method": "manual", "metadata[charge_id]": charge_id})
    assert held["amount_capturable"] == 8850
    path = f"/v1/payment_intents/{held['id']}/capture"
    taken = (await api.post(path, {"amount_to_capture": "8000"})).json()
    assert (taken["amount_received"], taken["amount_capturable"]) == (8000, 0)
    assert [line["amount_minor"] for line in psp.book(charge_id)["captures"]] == [8000]
    lines = await api.get("/v1/balance_transactions", limit="2")
    assert sorted((line["reporting_category"], line["amount"]) for line in lines["data"]) == [
        ("charge", 8850),
        ("partial_capture_reversal", -850),
    ]


async def test_a_method_that_redirects_can_be_shut_out(api: Api) -> None:
    form = a_payment(payment_method="pm_alipay")
    del form["return_url"]
    form["automatic_payment_methods[enabled]"] = "true"
    form["automatic_payment_methods[allow_redirects]"] = "never"
    answer = await api.post("/v1/payment_intents", form)
    assert answer.json()["error"]["param"] == "payment_method"
    form["payment_method"] = "pm_card_visa"
    assert (await api.post("/v1/payment_intents", form)).status_code == 200


async def test_the_page_tells_the_amount_and_sends_the_payer_back(api: Api) -> None:
    for decision, paid in (("approve", "succeeded"), ("refuse", "failed")):
        requested = await api.pay(payment_method="pm_alipay", amount="8805")
        url = requested["next_action"]["alipay_handle_redirect"]["url"]
        page = await api.http.get(url)
        assert "CNY 88.05" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        sent = await api.http.post(url, data={"decision": decision})
        assert sent.status_code == 303
        assert sent.headers["location"] == (
            f"{RETURN_URL}?payment_intent={requested['id']}&redirect_status={paid}"
        )
        assert "<form" not in (await api.http.get(url)).text
    assert (await api.http.get(f"{url}x")).status_code == 404
    assert (await api.http.post(url, data={"decision": "maybe"})).status_code == 400


async def test_lists_come_newest_first_in_pages(api: Api) -> None:
    made = [(await api.pay())["id"] for _ in range(5)]
    first = await api.get("/v1/payment_intents", limit="3")
    assert [one["id"] for one in first["data"]] == made[:1:-1]
    assert first["has_more"] is True
    second = await api.get("/v1/payment_intents", limit="2", starting_after=made[2])
    assert [one["id"] for one in second["data"]] == [made[1], made[0]]
    for limit in ("0", "101", "x"):
        answer = await api.http.get("/v1/payment_intents", params={"limit": limit})
        assert answer.status_code == 400


async def test_search_by_metadata(api: Api) -> None:
    own = uuid.uuid4().hex
    ids = {(await api.pay(**{"metadata[order]": own}))["id"] for _ in range(2)}
    await api.pay(**{"metadata[order]": f"{own}x"})
    for query in (f"metadata['order']:'{own}'", f'metadata["order"]:"{own}"'):
        found = await api.get("/v1/payment_intents/search", query=query)
        assert found["object"] == "search_result"
        assert {one["id"] for one in found["data"]} == ids
    answer = await api.http.get("/v1/payment_intents/search", params={"query": "amount>5"})
    assert answer.status_code == 400


async def test_the_search_lags(own_psp: SandboxPsp, own_api: Api) -> None:
    await own_api.pay(**{"metadata[order]": "new"})

    async def found() -> int:
        query = "metadata['order']:'new'"
        return len((await own_api.get("/v1/payment_intents/search", query=query))["data"])

    assert await found() == 1
    own_psp.set_search_lag(60)
    assert await found() == 0
    own_psp.advance_clock(60)
    assert await found() == 1


async def test_an_id_is_told_or_the_object_when_asked(api: Api) -> None:
    paid = await api.pay()
    path = f"/v1/payment_intents/{paid['id']}"
    plain = await api.get(path)
    whole = await api.get(path, **{"expand[]": "latest_charge.balance_transaction"})
    assert whole["latest_charge"]["id"] == plain["latest_charge"]
    assert whole["latest_charge"]["balance_transaction"]["fee"] == 53
    answer = await api.http.get(path, params={"expand[]": "nothing"})
    assert answer.status_code == 400


async def test_a_long_body_is_refused(api: Api) -> None:
    answer = await api.post("/v1/payment_intents", {"description": "x" * 70_000})
    assert answer.status_code == 400
    assert "longer" in answer.json()["error"]["message"]

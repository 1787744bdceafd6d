"""Idempotency keys by Stripe's rules."""

import asyncio
import uuid

import pytest

from tests.sandbox.psp.conftest import Api, a_payment
from tests.support.psp import SandboxPsp

PATH = "/v1/payment_intents"


def own() -> tuple[str, dict[str, str]]:
    """A fresh key, and a payment that the book knows by it."""
    id = str(uuid.uuid4())
    return id, a_payment(**{"metadata[charge_id]": id})


async def test_the_first_answer_is_given_again(api: Api, psp: SandboxPsp) -> None:
    key, form = own()
    first = await api.post(PATH, form, key)
    # The order of a form's parameters means nothing.
    again = await api.post(PATH, dict(reversed(form.items())), key)
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["idempotency-key"] == key
    assert len(psp.book(key)["captures"]) == 1


async def test_a_decline_is_given_again(api: Api) -> None:
    key, form = own()
    form["payment_method"] = "pm_card_chargeDeclined"
    first = await api.post(PATH, form, key)
    again = await api.post(PATH, form, key)
    assert (again.status_code, again.content) == (402, first.content)


@pytest.mark.parametrize("kind", ["error_500_before", "error_500_after"])
async def test_a_500_is_given_again(api: Api, psp: SandboxPsp, kind: str) -> None:
    key, form = own()
    psp.add_fault("charge", kind)
    statuses = [(await api.post(PATH, form, key)).status_code for _ in range(3)]
    assert statuses == [500, 500, 500]
    assert len(psp.book(key)["captures"]) == (1 if kind == "error_500_after" else 0)


async def test_what_never_ran_is_not_kept(api: Api, psp: SandboxPsp) -> None:
    key, form = own()
    assert (await api.post(PATH, {**form, "amount": "x"}, key)).status_code == 400
    psp.add_fault("charge", "rate_limit")
    assert (await api.post(PATH, form, key)).status_code == 429
    assert (await api.post(PATH, form, key)).status_code == 200


async def test_other_parameters_are_an_error(api: Api, psp: SandboxPsp) -> None:
    key, form = own()
    await api.post(PATH, form, key)
    for path, other in (
        (PATH, {**form, "amount": "8851"}),
        (PATH, {**form, "description": "more"}),
        ("/v1/refunds", {"payment_intent": "pi_1"}),
    ):
        answer = await api.post(path, other, key)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "idempotency_error"
    assert len(psp.book(key)["captures"]) == 1


async def test_a_key_in_use_is_a_conflict(api: Api, psp: SandboxPsp) -> None:
    key, form = own()
    psp.add_fault("charge", "delay", seconds=0.5)
    answers = await asyncio.gather(*(api.post(PATH, form, key) for _ in range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [409] * 7
    body = next(answer for answer in answers if answer.status_code == 409).json()["error"]
    assert (body["type"], body["code"]) == ("idempotency_error", "idempotency_key_in_use")
    assert len(psp.book(key)["captures"]) == 1


async def test_concurrent_calls_with_one_key_move_money_once(api: Api, psp: SandboxPsp) -> None:
    key, form = own()
    answers = await asyncio.gather(*(api.post(PATH, form, key) for _ in range(30)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    assert len(psp.book(key)["captures"]) == 1


async def test_a_key_is_forgotten_after_a_day(own_psp: SandboxPsp, own_api: Api) -> None:
    key, form = own()
    first = (await own_api.post(PATH, form, key)).json()
    own_psp.advance_clock(86_400 - 60)
    assert (await own_api.post(PATH, form, key)).json()["id"] == first["id"]
    own_psp.advance_clock(60)
    assert (await own_api.post(PATH, form, key)).json()["id"] != first["id"]
    assert len(own_psp.book(key)["captures"]) == 2


async def test_a_long_key_is_refused(api: Api) -> None:
    _, form = own()
    assert (await api.post(PATH, form, "k" * 255)).status_code == 200
    assert (await api.post(PATH, form, "k" * 256)).status_code == 400

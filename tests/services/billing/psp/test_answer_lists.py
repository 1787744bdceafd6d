"""Lists, pages and refunds that the PSP answers with and that are not to be believed."""

from uuid import uuid4

import pytest

from services.billing.psp import (
    ActionRequired,
    Declined,
    Intent,
    Psp,
    Unknown,
)
from tests.services.billing.psp.liar import CHARGE, NOW, OURS, PAYMENT, Json, Liar, an_intent
from tests.support.factories import a_refund


async def test_a_list_that_does_not_move_on_is_given_up(liar: Liar, lied_to: Psp) -> None:
    refund = {"id": "re_1", "object": "refund", "amount": 5, "status": "succeeded"}
    liar.answers({"object": "list", "data": [refund], "has_more": True})
    outcome = await lied_to.find_refund(a_refund(), "pi_1")
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("endless")


async def test_one_charge_found_twice_is_unknown(liar: Liar, lied_to: Psp) -> None:
    both = [an_intent(), an_intent(id="pi_2")]
    liar.answers({"object": "list", "data": both, "has_more": False})
    outcome = await lied_to.find(CHARGE, NOW, NOW)
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("doubled")


async def test_of_two_that_name_the_charge_the_live_one_is_found(liar: Liar, lied_to: Psp) -> None:
    declined = an_intent(id="pi_2", status="requires_payment_method", amount_capturable=0)
    other = an_intent(id="pi_3", metadata=OURS | {"charge_id": str(uuid4())})
    nobodys = an_intent(id="pi_4", metadata={})
    for both in ([declined, an_intent()], [an_intent(), declined]):
        liar.answers({"object": "list", "data": [other, *both, nobodys], "has_more": False})
        found = await lied_to.find(CHARGE, NOW, NOW)
        assert isinstance(found, Intent)
        assert found.id == "pi_1"
    liar.answers({"object": "list", "data": [declined], "has_more": False})
    found = await lied_to.find(CHARGE, NOW, NOW)
    assert isinstance(found, Intent)
    assert isinstance(found.outcome, Declined)


@pytest.mark.parametrize(
    "url", [None, "", "javascript:1", "https://a/\0", "https://" + "a" * 2_048]
)
async def test_a_page_that_no_payer_can_be_shown_is_none(
    liar: Liar, lied_to: Psp, url: str | None
) -> None:
    action = {"type": "x", "x": {"url": url}}
    liar.answers(an_intent(status="requires_action", next_action=action))
    assert await lied_to.authorize(CHARGE) == ActionRequired("pi_1", None)
    liar.answers(an_intent(status="requires_action", next_action=None))
    assert await lied_to.authorize(CHARGE) == ActionRequired("pi_1", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 6},
        {"payment_intent": "pi_2"},
        {"payment_intent": None},
        {"metadata": {}},
        {"metadata": {"refund_id": str(PAYMENT.id), "kind": "refund"}},
        {"status": "undecided"},
        {"currency": "usd"},
    ],
)
async def test_a_refund_that_is_not_ours(liar: Liar, lied_to: Psp, changed: Json) -> None:
    refund = a_refund()
    expected = {
        "id": "re_1",
        "object": "refund",
        "amount": 5,
        "status": "succeeded",
        "currency": "cny",
        "payment_intent": "pi_1",
        "metadata": {"refund_id": str(refund.id), "kind": "refund"},
        **changed,
    }
    liar.answers(expected)
    assert isinstance(await lied_to.refund(refund, "pi_1", 5, "CNY"), Unknown)
    liar.answers({"object": "list", "data": [expected], "has_more": False})
    found = await lied_to.find_refund(refund, "pi_1", 5, "CNY")
    assert found is None or isinstance(found, Unknown)


async def test_the_key_is_not_told_in_what_went_wrong(liar: Liar) -> None:
    secret = "sk_test_not_for_logs"
    lied_to = Psp(liar.url, secret, timeout_seconds=0.2)
    liar.said = b"HTTP/1.1 200 OK\r\n"
    liar.pause_seconds = 30
    outcome = await lied_to.authorize(CHARGE)
    await lied_to.aclose()
    assert f"authorization: Bearer {secret}".encode() in liar.requests[0]
    assert isinstance(outcome, Unknown)
    assert secret not in outcome.why

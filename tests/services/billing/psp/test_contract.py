"""The contract between our client and the PSP: holds, captures, refunds and keys, compared with the PSP's book."""

from dataclasses import replace

import pytest

from services.billing.psp import (
    ActionRequired,
    Authorized,
    Captured,
    Charge,
    Declined,
    Intent,
    Psp,
    Refunded,
    Refused,
    Unknown,
    Voided,
)
from tests.services.billing.psp.conftest import Till
from tests.support.factories import a_payment, a_refund
from tests.support.psp import RETURN_URL, SandboxPsp

REDIRECTS = [
    "pm_card_threeDSecure2Required",
    "pm_card_authenticationRequired",
    "pm_alipay",
    "pm_wechat_pay",
]


async def test_hold_then_take(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.held()
    [hold] = psp.book(payment)["holds"]
    assert (hold["status"], hold["amount_minor"], hold["currency"]) == ("held", 8850, "CNY")

    assert await client.capture(intent_id, payment, 8850, "CNY") == Captured(intent_id)
    assert await client.capture(intent_id, payment, 8850, "CNY") == Captured(intent_id)

    book = psp.book(payment)
    assert [hold["status"] for hold in book["holds"]] == ["captured"]
    assert [line["amount_minor"] for line in book["captures"]] == [8850]


async def test_hold_then_let_go(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.held()
    assert await client.void(intent_id, payment, "CNY") == Voided(intent_id)
    assert await client.void(intent_id, payment, "CNY") == Voided(intent_id)
    assert isinstance(await client.capture(intent_id, payment, 8850, "CNY"), Refused)
    book = psp.book(payment)
    assert [hold["status"] for hold in book["holds"]] == ["released"]
    assert not book["captures"]


async def test_what_is_taken_cannot_be_let_go(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.taken()
    assert isinstance(await client.void(intent_id, payment, "CNY"), Refused)
    assert len(psp.book(payment)["captures"]) == 1


async def test_more_than_was_held_cannot_be_taken(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.held()
    outcome = await client.capture(intent_id, payment, 8851, "CNY")
    assert isinstance(outcome, Refused)
    assert outcome.code == "amount_too_large"
    assert not psp.book(payment)["captures"]


async def test_a_capture_of_another_amount_is_not_ours(client: Psp, till: Till) -> None:
    payment, intent_id = await till.held()
    assert isinstance(await client.capture(intent_id, payment, 8000, "CNY"), Captured)
    outcome = await client.capture(intent_id, payment, 8850, "CNY")
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
        ("pm_nobodys", "resource_missing"),
    ],
)
async def test_declined(client: Psp, till: Till, psp: SandboxPsp, method: str, code: str) -> None:
    for ask in (client.authorize, client.charge):
        charge = till.charge(method)
        first, again = await ask(charge), await ask(charge)
        assert isinstance(first, Declined)
        assert first.code == code
        assert again == first
        assert psp.book(charge.subject) == {"holds": [], "captures": [], "refunds": []}


@pytest.mark.parametrize("method", REDIRECTS)
async def test_the_payer_approves(client: Psp, till: Till, psp: SandboxPsp, method: str) -> None:
    charge = till.charge(method)
    requested = await client.authorize(charge)
    assert isinstance(requested, ActionRequired)
    assert psp.book(charge.subject)["holds"] == []
    psp.decide(str(requested.url), "approve")
    found = await client.retrieve(requested.intent_id)
    assert isinstance(found, Intent)
    assert found.outcome_for(charge.subject, 8850, "CNY") == Authorized(requested.intent_id)
    assert [hold["status"] for hold in psp.book(charge.subject)["holds"]] == ["held"]


@pytest.mark.parametrize("method", REDIRECTS)
async def test_the_payer_refuses(client: Psp, till: Till, psp: SandboxPsp, method: str) -> None:
    charge = till.charge(method)
    requested = await client.charge(charge)
    assert isinstance(requested, ActionRequired)
    psp.decide(str(requested.url), "refuse")
    psp.decide(str(requested.url), "approve")  # too late
    found = await client.retrieve(requested.intent_id)
    assert isinstance(found, Intent)
    assert isinstance(found.outcome, Declined)
    assert found.outcome.code == "payment_intent_authentication_failure"
    assert psp.book(charge.subject)["captures"] == []


async def test_a_payer_who_never_came_back_pays_nothing(
    client: Psp, till: Till, psp: SandboxPsp
) -> None:
    charge = till.charge("pm_alipay")
    requested = await client.charge(charge)
    assert isinstance(requested, ActionRequired)
    assert await client.void(requested.intent_id, charge.subject, "CNY") == Voided(
        requested.intent_id
    )
    psp.decide(str(requested.url), "approve")
    assert psp.book(charge.subject)["captures"] == []


async def test_the_same_charge_moves_money_once(client: Psp, till: Till, psp: SandboxPsp) -> None:
    charge = till.charge()
    outcomes = [await client.charge(charge) for _ in range(3)]
    assert len(set(outcomes)) == 1
    assert len(psp.book(charge.subject)["captures"]) == 1


async def test_the_same_charge_over_another_amount_is_unknown(
    client: Psp, till: Till, psp: SandboxPsp
) -> None:
    charge = till.charge()
    await client.charge(charge)
    other = Charge(charge.subject, 9999, "CNY", "pm_card_visa")
    outcome = await client.charge(other)
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("key_reused")
    assert [line["amount_minor"] for line in psp.book(charge.subject)["captures"]] == [8850]


async def test_find_by_our_own_ids(client: Psp, till: Till) -> None:
    payment, intent_id = await till.taken()
    refund = a_refund()
    await client.refund(refund, intent_id, 850, "CNY")
    found = await till.find(till.charges[-1])
    assert isinstance(found, Intent)
    assert (found.id, found.subject, found.captured_minor) == (intent_id, payment, 8850)
    assert await till.find(till.charge()) is None
    assert isinstance(await client.find_refund(refund, intent_id, 850), Refunded)
    assert isinstance(await client.find_refund(refund, intent_id, 851), Unknown)
    assert isinstance(await client.find_refund(refund, intent_id, 850, "USD"), Unknown)
    assert await client.find_refund(a_refund(), intent_id) is None


async def test_what_the_psp_does_not_know_is_unknown(client: Psp) -> None:
    nobodys = "pi_nobodys"
    for outcome in (
        await client.retrieve(nobodys),
        await client.capture(nobodys, a_payment(), 1, "CNY"),
        await client.void(nobodys, a_payment(), "CNY"),
        await client.refund(a_refund(), nobodys, 1, "CNY"),
    ):
        assert isinstance(outcome, Unknown)
        assert outcome.why.startswith("status: 404")


async def test_another_charges_intent_is_unknown(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.held()
    found = await client.retrieve(intent_id)
    assert isinstance(found, Intent)
    assert isinstance(found.outcome_for(a_payment(), 8850, "CNY"), Unknown)
    assert isinstance(found.outcome_for(payment, 8851, "CNY"), Unknown)
    assert isinstance(found.outcome_for(payment, 8850, "USD"), Unknown)
    assert isinstance(await client.void(intent_id, a_payment(), "CNY"), Unknown)


async def test_a_wrong_api_key_is_unknown(till: Till, psp: SandboxPsp) -> None:
    stranger = Psp(psp.url, "sk_test_strangers", return_url=RETURN_URL)
    charge = till.charge()
    outcome = await stranger.authorize(charge)
    await stranger.aclose()
    assert isinstance(outcome, Unknown)
    assert "strangers" not in outcome.why
    assert psp.book(charge.subject)["holds"] == []


async def test_a_charge_asked_for_under_the_former_key_is_not_made_twice(
    client: Psp, psp: SandboxPsp
) -> None:
    """A charge from before keys contained the kind is repeated under the key that the PSP may know."""
    subject = a_payment()
    form = {
        "amount": "8850",
        "currency": "cny",
        "payment_method": "pm_card_visa",
        "capture_method": "manual",
        "confirm": "true",
        "metadata[charge_id]": str(subject.id),
        "metadata[kind]": "payment",
        "return_url": RETURN_URL,
    }
    before = psp.http.post(
        "/v1/payment_intents",
        data=form,
        headers={
            "Authorization": f"Bearer {psp.api_key}",
            "Idempotency-Key": f"{subject.id}:authorize",
        },
    ).json()
    charge = Charge(subject, 8850, "CNY", "pm_card_visa", former_key=True)
    assert await client.authorize(charge) == Authorized(before["id"])
    assert len(psp.book(subject)["holds"]) == 1
    # Without it, it is another request to the PSP.
    assert await client.authorize(replace(charge, former_key=False)) != Authorized(before["id"])

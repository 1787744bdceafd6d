"""Refunds as our client asks for them and the sandbox's PSP makes them."""

from services.billing.psp import (
    Captured,
    Psp,
    Refunded,
    RefundPending,
    Refused,
)
from tests.services.billing.psp.conftest import Till
from tests.support.factories import a_refund
from tests.support.psp import SandboxPsp

REDIRECTS = [
    "pm_card_threeDSecure2Required",
    "pm_card_authenticationRequired",
    "pm_alipay",
    "pm_wechat_pay",
]


async def test_refunds_stay_within_the_capture(client: Psp, till: Till, psp: SandboxPsp) -> None:
    payment, intent_id = await till.taken()
    first, second = a_refund(), a_refund()
    assert isinstance(await client.refund(first, intent_id, 8000, "CNY"), Refunded)
    assert isinstance(await client.refund(first, intent_id, 8000, "CNY"), Refunded)
    refused = await client.refund(second, intent_id, 851, "CNY")
    assert isinstance(refused, Refused)
    assert refused.code == "amount_too_large"
    rest = a_refund()
    assert isinstance(await client.refund(rest, intent_id, 850, "CNY"), Refunded)
    refused = await client.refund(a_refund(), intent_id, 1, "CNY")
    assert isinstance(refused, Refused)
    assert refused.code == "charge_already_refunded"
    refunds = psp.book(payment)["refunds"]
    assert {line["refund_id"]: line["amount_minor"] for line in refunds} == {
        str(first.id): 8000,
        str(rest.id): 850,
    }


async def test_what_is_only_held_cannot_be_refunded(client: Psp, till: Till) -> None:
    _, intent_id = await till.held()
    assert isinstance(await client.refund(a_refund(), intent_id, 1, "CNY"), Refused)


async def test_a_refund_that_is_decided_later(client: Psp, till: Till, psp: SandboxPsp) -> None:
    for end, kind in (("succeeded", Refunded), ("failed", Refused)):
        charge = till.charge("pm_card_pendingRefund")
        taken = await client.charge(charge)
        assert isinstance(taken, Captured)
        refund = a_refund()
        pending = await client.refund(refund, taken.intent_id, 850, "CNY")
        assert isinstance(pending, RefundPending)
        assert await client.find_refund(refund, taken.intent_id, 850) == pending
        psp.settle_refund(pending.psp_refund_id, end)
        assert isinstance(await client.find_refund(refund, taken.intent_id, 850), kind)


async def test_a_refund_that_fails_on_its_way(client: Psp, till: Till, psp: SandboxPsp) -> None:
    charge = till.charge("pm_card_refundFail")
    taken = await client.charge(charge)
    assert isinstance(taken, Captured)
    refund = a_refund()
    assert isinstance(await client.refund(refund, taken.intent_id, 8850, "CNY"), RefundPending)
    assert isinstance(await client.find_refund(refund, taken.intent_id), Refused)
    assert [line["status"] for line in psp.book(charge.subject)["refunds"]] == ["failed"]


async def test_attempts_at_a_refund_are_told_apart(
    client: Psp, till: Till, psp: SandboxPsp
) -> None:
    """Of several, one that is live counts, whatever its attempt; a failed one only for its own attempt."""
    charge = till.charge("pm_card_pendingRefund")
    taken = await client.charge(charge)
    assert isinstance(taken, Captured)
    refund, about = a_refund(), (taken.intent_id, 850, "CNY")
    first = await client.refund(refund, *about)
    assert isinstance(first, RefundPending)
    assert await client.find_refund(refund, *about, attempt=2) == first
    psp.settle_refund(first.psp_refund_id, "failed")
    assert isinstance(await client.find_refund(refund, *about, attempt=1), Refused)
    assert await client.find_refund(refund, *about, attempt=2) is None
    second = await client.refund(refund, *about, attempt=2)
    assert isinstance(second, RefundPending)
    assert second != first
    for attempt in (1, 2, None):
        assert await client.find_refund(refund, *about, attempt=attempt) == second
    psp.settle_refund(second.psp_refund_id, "failed")
    for attempt in (1, 2, None):
        found = await client.find_refund(refund, *about, attempt=attempt)
        assert isinstance(found, Refused)
        if attempt != 1:
            assert second.psp_refund_id in found.text
    assert await client.find_refund(refund, *about, attempt=3) is None

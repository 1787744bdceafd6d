"""Effects that come after their caller has gone."""

import asyncio
import time
import uuid

import httpx
import pytest

from tests.sandbox.psp.conftest import Api, Form, a_payment
from tests.support.psp import SandboxPsp

INTENTS = "/v1/payment_intents"
SECONDS = 0.6
BOOKED = {"authorize": "holds", "charge": "captures", "capture": "captures", "refund": "refunds"}


async def ready(api: Api, operation: str, own: str) -> tuple[str, Form]:
    """The path and the form of a call that has this effect."""
    named = {"metadata[charge_id]": own}
    manual = {**named, "capture_method": "manual"}
    match operation:
        case "authorize":
            return INTENTS, a_payment(**manual)
        case "charge":
            return INTENTS, a_payment(**named)
        case "refund":
            return "/v1/refunds", {"payment_intent": (await api.pay(**named))["id"]}
    action = {"capture": "capture", "void": "cancel"}[operation]
    return f"{INTENTS}/{(await api.pay(**manual))['id']}/{action}", {}


def happened(psp: SandboxPsp, operation: str, own: str) -> int:
    """Return how often it happened, by the PSP's own book."""
    book = psp.book(own)
    if operation == "void":
        return sum(hold["status"] == "released" for hold in book["holds"])
    return len(book[BOOKED[operation]])


async def fired(psp: SandboxPsp, name: str, times: int) -> None:
    """Wait until a fault has been counted so often."""
    deadline = time.monotonic() + 60
    while psp.fired().get(name, 0) < times:
        assert time.monotonic() < deadline, psp.fired()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("operation", ["authorize", "charge", "capture", "void", "refund"])
async def test_it_happens_once_and_the_key_is_in_use_until_then(
    own_psp: SandboxPsp, own_api: Api, operation: str
) -> None:
    own = str(uuid.uuid4())
    path, form = await ready(own_api, operation, own)
    own_psp.add_fault(operation, "late_effect", seconds=SECONDS)
    with pytest.raises(httpx.TransportError):
        await own_api.post(path, form, own)
    assert happened(own_psp, operation, own) == 0
    assert own_psp.fired() == {f"{operation}:late_effect": 1}
    assert (await own_api.post(path, form, own)).status_code == 409
    await fired(own_psp, f"{operation}:late_effect_done", 1)
    kept = await own_api.post(path, form, own)
    assert (kept.status_code, kept.headers["idempotent-replayed"]) == (200, "true")
    assert happened(own_psp, operation, own) == 1


async def test_it_meets_what_has_changed_meanwhile(own_psp: SandboxPsp, own_api: Api) -> None:
    own = str(uuid.uuid4())
    path, form = await ready(own_api, "capture", own)
    own_psp.add_fault("capture", "late_effect", seconds=SECONDS)
    with pytest.raises(httpx.TransportError):
        await own_api.post(path, form, own)
    cancelled = await own_api.post(path.replace("capture", "cancel"), {})
    assert cancelled.json()["status"] == "canceled"
    deadline = time.monotonic() + 60
    while (answer := await own_api.post(path, form, own)).status_code == 409:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert answer.headers["idempotent-replayed"] == "true"
    assert answer.json()["error"]["code"] == "payment_intent_unexpected_state"
    assert own_psp.book(own)["captures"] == []
    assert own_psp.fired() == {"capture:late_effect": 1}


async def test_a_caller_who_gives_up_changes_nothing(own_psp: SandboxPsp, own_api: Api) -> None:
    own = str(uuid.uuid4())
    form = a_payment(
        **{"payment_method": "pm_fault_late_effect_charge_1s", "metadata[charge_id]": own}
    )
    own_api.http.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        await own_api.post(INTENTS, form, own)
    await fired(own_psp, "charge:late_effect_done", 1)
    assert happened(own_psp, "charge", own) == 1


async def test_any_operation_means_those_that_have_an_effect(
    own_psp: SandboxPsp, own_api: Api
) -> None:
    own_psp.add_fault("*", "late_effect", seconds=0.1)
    assert (await own_api.http.get("/v1/balance")).status_code == 200
    with pytest.raises(httpx.TransportError):
        await own_api.pay()

"""Faults on request: by count, by chance, or for one payment by its method or metadata."""

import uuid

import httpx
import pytest

from sandbox.psp.psp_faults import KINDS
from sandbox.stand_in.fault_list import LATE
from tests.sandbox.psp.conftest import Api, a_payment
from tests.support.psp import SandboxPsp


async def statuses(api: Api, calls: int) -> list[int]:
    return [(await api.post("/v1/payment_intents", a_payment())).status_code for _ in range(calls)]


async def test_by_count(own_psp: SandboxPsp, own_api: Api) -> None:
    own_psp.add_fault("charge", "error_500_before", times=2)
    own_psp.add_fault("authorize", "refuse")
    assert await statuses(own_api, 4) == [500, 500, 200, 200]
    own_psp.add_fault("*", "refuse")
    assert await statuses(own_api, 2) == [402, 200]
    assert own_psp.fired() == {"charge:error_500_before": 2, "charge:refuse": 1}


async def test_by_chance(own_psp: SandboxPsp, own_api: Api) -> None:
    own_psp.add_fault("charge", "refuse", probability=0.3)
    refused = (await statuses(own_api, 200)).count(402)
    assert 30 <= refused <= 90
    assert own_psp.fired() == {"charge:refuse": refused}
    own_psp.clear_faults()
    assert await statuses(own_api, 20) == [200] * 20


async def test_by_metadata(api: Api, psp: SandboxPsp) -> None:
    charge_id = str(uuid.uuid4())
    fields = {"metadata[charge_id]": charge_id, "metadata[sandbox_fault]": "timeout_after:charge:0"}
    form = a_payment(**fields)
    with pytest.raises(httpx.TransportError):
        await api.post("/v1/payment_intents", form, charge_id)
    assert len(psp.book(charge_id)["captures"]) == 1
    again = await api.post("/v1/payment_intents", form, charge_id)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != LATE])
async def test_each_kind_has_its_method(api: Api, psp: SandboxPsp, kind: str) -> None:
    charge_id = str(uuid.uuid4())
    form = a_payment(
        **{
            "payment_method": f"pm_fault_{kind}_refund",
            "metadata[charge_id]": charge_id,
        }
    )
    paid = (await api.post("/v1/payment_intents", form)).json()
    fired = psp.fired().get(f"refund:{kind}", 0)
    api.http.timeout = httpx.Timeout(0.3 if kind.startswith("timeout") else 5)
    refund = {"payment_intent": paid["id"], "amount": "50"}
    first = await _status(api, refund, charge_id)
    expected = {
        "delay": 200,
        "refuse": 400,
        "error_500_before": 500,
        "error_500_after": 500,
        "rate_limit": 429,
        "wrong_amount": 200,
    }
    assert first == expected.get(kind, 0)
    happened = kind not in {
        "refuse",
        "timeout_before",
        "error_500_before",
        "reset_before",
        "rate_limit",
    }
    assert len(psp.book(charge_id)["refunds"]) == int(happened)
    kept = kind in {"refuse", "error_500_before", "error_500_after"}
    assert await _status(api, refund, charge_id) == (first if kept else 200)
    assert psp.fired()[f"refund:{kind}"] == fired + 1


async def test_a_method_may_say_for_how_long(api: Api, psp: SandboxPsp) -> None:
    paid = await api.pay(payment_method="pm_fault_timeout_before_refund_0.1s")
    refund = {"payment_intent": paid["id"]}
    with pytest.raises(httpx.TransportError):
        await api.post("/v1/refunds", refund)
    assert (await api.post("/v1/refunds", refund)).status_code == 200


async def test_a_list_of_payments_has_its_own_fault(own_psp: SandboxPsp, own_api: Api) -> None:
    own_psp.add_fault("list", "error_500_before")
    assert (await own_api.http.get("/v1/balance")).status_code == 200
    statuses = [(await own_api.http.get("/v1/payment_intents")).status_code for _ in range(2)]
    assert statuses == [500, 200]
    assert own_psp.fired() == {"list:error_500_before": 1}


async def test_a_fault_that_makes_no_sense_is_refused(own_psp: SandboxPsp) -> None:
    async with httpx.AsyncClient(base_url=own_psp.url) as http:
        for requested in (
            {"operation": "charge", "kind": "explode"},
            {"operation": "sing", "kind": "delay"},
            {"operation": "charge"},
            {"operation": "charge", "kind": "delay", "times": 0},
            {"operation": "charge", "kind": "delay", "probability": 2},
            {"operation": "charge", "kind": "delay", "times": 1, "probability": 0.5},
            {"operation": "charge", "kind": "delay", "often": 1},
            {"operation": "retrieve", "kind": "late_effect"},
        ):
            answer = await http.post("/sandbox/faults", json=requested)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"]
        assert (await http.get("/sandbox/faults")).json()["faults"] == []


async def _status(api: Api, refund: dict[str, str], charge_id: str) -> int:
    """The status of the answer, 0 for none that can be read."""
    try:
        answer = await api.post("/v1/refunds", refund, f"{charge_id}:refund")
        answer.json()
    except (httpx.HTTPError, ValueError):
        return 0
    return answer.status_code

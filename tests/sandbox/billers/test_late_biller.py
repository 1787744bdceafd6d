"""Effects at a biller that come after their caller has gone."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.billers import SandboxBillers

BILLER = "hz-water"
DONE = f"{BILLER}:apply:late_effect_done"


class JsonBiller:
    """The biller that speaks JSON, asked by hand."""

    def __init__(self, billers: SandboxBillers) -> None:
        self._http = httpx.Client(base_url=f"{billers.url}/{BILLER}", timeout=5)
        self._billers = billers
        account, *_ = billers.accounts(BILLER)
        self.serial = uuid4().hex.upper()
        number = billers.issue_bill(BILLER, account, 700)
        self.bill = {"account_number": account, "bill_number": number, "amount_minor": 700}

    def ask(self, operation: str, **fields: Any) -> str:
        """The status of the answer, or `none`."""
        body = json.dumps({"serial": self.serial, **fields}).encode()
        at = str(int(time.time()))
        key = self._billers.secret(BILLER).encode()
        signature = hmac.new(key, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"X-Timestamp": at, "X-Signature": signature}
        try:
            answer = self._http.post(f"/{operation}", content=body, headers=headers)
        except httpx.TransportError:
            return "none"
        return str(answer.json()["status"])

    def booked(self) -> list[str]:
        """Return the entry of this serial in the biller's book."""
        book = self._billers.book(BILLER)
        return [line["kind"] for line in book if line["serial"] == self.serial]

    def until(self, name: str, times: int) -> None:
        """Wait until a fault has been counted so often."""
        deadline = time.monotonic() + 60
        while self._billers.fired().get(name, 0) < times:
            assert time.monotonic() < deadline, self._billers.fired()
            time.sleep(0.05)

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def json_biller(billers: SandboxBillers) -> Iterator[JsonBiller]:
    made = JsonBiller(billers)
    yield made
    made.close()
    billers.clear_faults(BILLER)


def test_an_apply_is_booked_late_and_once(json_biller: JsonBiller, billers: SandboxBillers) -> None:
    before = billers.fired().get(DONE, 0)
    billers.add_fault(BILLER, "apply", "late_effect", seconds=0.6)
    assert json_biller.ask("apply", **json_biller.bill) == "none"
    assert json_biller.ask("query") == "NOT_APPLIED"
    assert json_biller.booked() == []
    json_biller.until(DONE, before + 1)
    assert json_biller.ask("apply", **json_biller.bill) == "OK"
    assert json_biller.booked() == ["apply"]


def test_an_unapply_blocks_the_late_apply(json_biller: JsonBiller, billers: SandboxBillers) -> None:
    done = billers.fired().get(DONE, 0)
    billers.add_fault(BILLER, "apply", "late_effect", seconds=0.6)
    assert json_biller.ask("apply", **json_biller.bill) == "none"
    assert json_biller.ask("unapply") == "UNAPPLIED"
    # The effect of an unapply that was picked later comes later.
    billers.add_fault(BILLER, "unapply", "late_effect", seconds=0.6)
    unapplied = billers.fired().get(f"{BILLER}:unapply:late_effect_done", 0)
    assert json_biller.ask("unapply") == "none"
    json_biller.until(f"{BILLER}:unapply:late_effect_done", unapplied + 1)
    assert json_biller.booked() == []
    assert billers.fired().get(DONE, 0) == done


def test_only_what_has_an_effect_has_a_late_one(billers: SandboxBillers) -> None:
    fields = {"operation": "query", "kind": "late_effect"}
    assert billers.http.post("/sandbox/faults", json=fields).status_code == 422

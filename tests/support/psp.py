"""The sandbox's PSP as a real process on a free port, with secrets of its own and control endpoints.

Its search does not lag unless a test sets a lag. A test can put its clock forward: idempotency keys expire after 24 h,
holds after 7 days. Faults fire as "operation:kind".
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.billing.psp import Psp
from services.billing.subject import Subject
from tests.support.process import SandboxProcess

# The address to which a payer returns after approving; nothing is served there.
RETURN_URL = "http://127.0.0.1/back"


@dataclass
class Clock:
    """The time of our client. It stands still, because some idempotency keys change with the minute."""

    now: float = 1_788_000_000.0

    def __call__(self) -> float:
        return self.now


class SandboxPsp(SandboxProcess):
    """`python -m sandbox.psp`, remembering in `folder`."""

    def __init__(
        self, folder: Path, *, seed: int | None = None, search_lag_seconds: int = 0
    ) -> None:
        self.api_key = f"sk_test_{secrets.token_hex(16)}"
        self.webhook_secret = f"whsec_{secrets.token_hex(16)}"
        super().__init__(
            "psp",
            folder,
            [
                *("--state", str(folder), "--search-lag-seconds", str(search_lag_seconds)),
                *([] if seed is None else ["--seed", str(seed)]),
            ],
            {
                "METERHALL_PSP_API_KEY": self.api_key,
                "METERHALL_PSP_WEBHOOK_SECRET": self.webhook_secret,
            },
        )

    def client(self, *, timeout_seconds: float = 5.0, clock: Clock | None = None) -> Psp:
        """Return our client for it; close it with `aclose`."""
        return Psp(
            self.url,
            self.api_key,
            timeout_seconds=timeout_seconds,
            return_url=RETURN_URL,
            clock=clock or Clock(),
        )

    def book(self, charge_id: object = None) -> dict[str, list[dict[str, Any]]]:
        """Return its `holds`, `captures` and `refunds`: of one charge of ours (by id or subject), or of all."""
        if isinstance(charge_id, Subject):
            charge_id = charge_id.id
        book: dict[str, list[dict[str, Any]]] = self.control("GET", "/sandbox/book")
        if charge_id is None:
            return book
        return {
            name: [line for line in lines if line["charge_id"] == str(charge_id)]
            for name, lines in book.items()
        }

    def call(self, method: str, path: str, **params: str) -> dict[str, Any]:
        """Call its API as another client with our key: the dashboard, or the payer's app."""
        key = {"Authorization": f"Bearer {self.api_key}"}
        response: dict[str, Any] = self.control(method, path, data=params, headers=key)
        return response

    def confirm(self, intent_id: str, method: str = "pm_card_visa") -> dict[str, Any]:
        """Confirm an intent with another means of payment, as the payer does; return the intent."""
        path = f"/v1/payment_intents/{intent_id}/confirm"
        return self.call("POST", path, payment_method=method, return_url=RETURN_URL)

    def add_fault(
        self,
        operation: str,
        kind: str,
        *,
        times: int | None = None,
        probability: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Add a fault to the next call of `operation` ("*": any), to the next `times` calls, or to calls by chance."""
        fault: dict[str, object] = {"operation": operation, "kind": kind}
        more = {"times": times, "probability": probability, "seconds": seconds}
        fault |= {name: value for name, value in more.items() if value is not None}
        self.control("POST", "/sandbox/faults", json=fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.control("DELETE", "/sandbox/faults")

    def settle_refund(self, psp_refund_id: str, status: str, **more: str) -> None:
        """End a refund as `succeeded` or `failed`. `more`: the `event` that reports a failure."""
        self.control("POST", f"/sandbox/refunds/{psp_refund_id}", json={"status": status, **more})

    def set_search_lag(self, seconds: int) -> None:
        """Let the search find only charges that are older than this."""
        self.control("POST", "/sandbox/search", json={"lag_seconds": seconds})

    def pay_out(self, currency: str = "cny") -> dict[str, Any] | None:
        """Pay out all that is due, as the PSP does every day; return None if nothing is."""
        payout: dict[str, Any] | None = self.control(
            "POST", "/sandbox/payouts", json={"currency": currency}
        )
        return payout

    def set_webhooks(self, **settings: object) -> dict[str, Any]:
        """Change the delivery of events: url, duplicates, delay_seconds, shuffle_seconds, paused, secrets."""
        report: dict[str, Any] = self.control("POST", "/sandbox/webhooks", json=settings)
        return report

    def webhooks(self) -> dict[str, Any]:
        """Return the settings, and the numbers of pending, delivered and failed deliveries."""
        report: dict[str, Any] = self.control("GET", "/sandbox/webhooks")
        return report

    def decide(self, action_url: str, decision: str) -> None:
        """Decide on the PSP's page as the payer: `approve` or `refuse`."""
        response = self.http.post(action_url, data={"decision": decision})
        assert response.status_code in {200, 303}, response.text

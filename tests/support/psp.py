"""The sandbox's PSP as a real process on a free port, with secrets of its own, and the strings to pull. Its search does
not lag, unless a test asks for it.

Put its clock forward: keys are forgotten after 24 h, holds end after 7 days. Faults fire as "operation:kind".
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.billing.psp import Psp
from services.billing.subject import Subject
from tests.support.process import SandboxProcess

# Where a payer would come back to after approving; nothing is served there.
RETURN_URL = "http://127.0.0.1/back"


@dataclass
class Clock:
    """Our client's time. It stands still, so that no test depends on when a minute ends: some keys change with it."""

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
        """Our client of it; close it with `aclose`."""
        return Psp(
            self.url,
            self.api_key,
            timeout_seconds=timeout_seconds,
            return_url=RETURN_URL,
            clock=clock or Clock(),
        )

    def book(self, charge_id: object = None) -> dict[str, list[dict[str, Any]]]:
        """What it holds, took and gave back, as `holds`, `captures` and `refunds`: of one charge of ours (by its id or
        its subject), or of all."""
        if isinstance(charge_id, Subject):
            charge_id = charge_id.id
        book: dict[str, list[dict[str, Any]]] = self.ask("GET", "/sandbox/book")
        if charge_id is None:
            return book
        return {
            name: [line for line in lines if line["charge_id"] == str(charge_id)]
            for name, lines in book.items()
        }

    def call(self, method: str, path: str, **params: str) -> dict[str, Any]:
        """Its API, as somebody else with our key calls it: the dashboard, or the payer's app."""
        key = {"Authorization": f"Bearer {self.api_key}"}
        answer: dict[str, Any] = self.ask(method, path, data=params, headers=key)
        return answer

    def confirm(self, intent_id: str, method: str = "pm_card_visa") -> dict[str, Any]:
        """Have the payer try again with another means of payment; the intent."""
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
        """Have it err at the next call of `operation` ("*" is any), or at the next `times`, or each by chance."""
        asked: dict[str, object] = {"operation": operation, "kind": kind}
        more = {"times": times, "probability": probability, "seconds": seconds}
        asked |= {name: value for name, value in more.items() if value is not None}
        self.ask("POST", "/sandbox/faults", json=asked)

    def clear_faults(self) -> None:
        """Have it be well again."""
        self.ask("DELETE", "/sandbox/faults")

    def settle_refund(self, psp_refund_id: str, status: str, **more: str) -> None:
        """Have a refund end as `succeeded` or `failed`. `more`: the `event` that tells of a failure."""
        self.ask("POST", f"/sandbox/refunds/{psp_refund_id}", json={"status": status, **more})

    def set_search_lag(self, seconds: int) -> None:
        """Have the search find only what is older than this."""
        self.ask("POST", "/sandbox/search", json={"lag_seconds": seconds})

    def pay_out(self, currency: str = "cny") -> dict[str, Any] | None:
        """Pay out all that is due, as the PSP does every day; None when nothing is."""
        payout: dict[str, Any] | None = self.ask(
            "POST", "/sandbox/payouts", json={"currency": currency}
        )
        return payout

    def set_webhooks(self, **settings: object) -> dict[str, Any]:
        """Where events go and how badly: url, duplicates, delay_seconds, shuffle_seconds, paused, secrets."""
        report: dict[str, Any] = self.ask("POST", "/sandbox/webhooks", json=settings)
        return report

    def webhooks(self) -> dict[str, Any]:
        """The settings, and how many deliveries are pending, delivered and failed."""
        report: dict[str, Any] = self.ask("GET", "/sandbox/webhooks")
        return report

    def decide(self, action_url: str, decision: str) -> None:
        """Be the payer on the PSP's page: `approve` or `refuse`."""
        answer = self.http.post(action_url, data={"decision": decision})
        assert answer.status_code in {200, 303}, answer.text

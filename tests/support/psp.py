"""The sandbox's PSP as a real process on a free port, with secrets of its own, and the strings to pull."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from sandbox.children import with_parent
from sandbox.ports import HOST, free_port, listens, wait_until
from services.billing.psp import Psp

# Where a payer would come back to after approving; nothing is served there.
RETURN_URL = "http://127.0.0.1/back"


class SandboxPsp:
    """`python -m sandbox.psp`, remembering in `folder`. A restart keeps the port, the secrets and all it knew."""

    def __init__(self, folder: Path, *, seed: int | None = None) -> None:
        self.folder = folder
        self.api_key = f"sk_test_{secrets.token_hex(16)}"
        self.webhook_secret = f"whsec_{secrets.token_hex(16)}"
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None
        self._control = httpx.Client(base_url=self.url, timeout=10)

    def start(self) -> "SandboxPsp":
        """Serve, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sandbox.psp"]
        command += ["--port", str(self._port), "--state", str(self.folder)]
        if self._seed is not None:
            command += ["--seed", str(self._seed)]
        environment = {
            **os.environ,
            "METERHALL_PSP_API_KEY": self.api_key,
            "METERHALL_PSP_WEBHOOK_SECRET": self.webhook_secret,
        }
        with (self.folder / "psp.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, preexec_fn=with_parent()
            )
        alive = self._process
        wait_until(lambda: listens(self._port), "the PSP", 30, lambda: alive.poll() is None)
        return self

    def stop(self) -> None:
        """End it as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut of the process would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)
        self._process = None

    def __enter__(self) -> "SandboxPsp":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._control.close()

    def client(self, *, timeout_seconds: float = 5.0) -> Psp:
        """Our client of it; close it with `aclose`."""
        return Psp(self.url, self.api_key, timeout_seconds=timeout_seconds, return_url=RETURN_URL)

    def book(self, charge_id: object = None) -> dict[str, list[dict[str, Any]]]:
        """What it holds, took and gave back, as `holds`, `captures` and `refunds`: of one charge of ours, or of all."""
        book: dict[str, list[dict[str, Any]]] = self._ask("GET", "/sandbox/book")
        if charge_id is None:
            return book
        return {
            name: [line for line in lines if line["charge_id"] == str(charge_id)]
            for name, lines in book.items()
        }

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
        self._ask("POST", "/sandbox/faults", asked)

    def clear_faults(self) -> None:
        """Have it be well again."""
        self._ask("DELETE", "/sandbox/faults")

    def fired(self) -> dict[str, int]:
        """How often each fault fired, ever, by "operation:kind"."""
        told: dict[str, int] = self._ask("GET", "/sandbox/faults")["fired"]
        return told

    def advance_clock(self, seconds: int) -> None:
        """Put its clock forward, for good: keys are forgotten after 24 h, holds end after 7 days."""
        self._ask("POST", "/sandbox/clock", {"advance_seconds": seconds})

    def settle_refund(self, psp_refund_id: str, status: str) -> None:
        """Have a refund end as `succeeded` or `failed`."""
        self._ask("POST", f"/sandbox/refunds/{psp_refund_id}", {"status": status})

    def pay_out(self, currency: str = "cny") -> dict[str, Any] | None:
        """Pay out all that is due, as the PSP does every day; None when nothing is."""
        payout: dict[str, Any] | None = self._ask(
            "POST", "/sandbox/payouts", {"currency": currency}
        )
        return payout

    def set_webhooks(self, **settings: object) -> dict[str, Any]:
        """Where events go and how badly: url, duplicates, delay_seconds, shuffle_seconds, paused, secrets."""
        report: dict[str, Any] = self._ask("POST", "/sandbox/webhooks", settings)
        return report

    def webhooks(self) -> dict[str, Any]:
        """The settings, and how many deliveries are pending, delivered and failed."""
        report: dict[str, Any] = self._ask("GET", "/sandbox/webhooks")
        return report

    def decide(self, action_url: str, decision: str) -> None:
        """Be the payer on the PSP's page: `approve` or `refuse`."""
        answer = self._control.post(action_url, data={"decision": decision})
        assert answer.status_code in {200, 303}, answer.text

    def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        answer = self._control.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

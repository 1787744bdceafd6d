"""The sandbox's billers as a real process on a free port, with secrets of their own, and the strings to pull."""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from sandbox import catalogue
from sandbox.billers.institutions import INSTITUTIONS
from sandbox.children import with_parent
from sandbox.ports import HOST, free_port, listens, wait_until


class SandboxBillers:
    """`python -m sandbox.billers`, remembering in `folder`. A restart keeps the port, the secrets and all they knew.

    `rows` are the catalogue's, `secrets_path` and `data_dir` what METERHALL_BILLER_SECRETS and METERHALL_DATA_DIR name.
    """

    def __init__(self, folder: Path, *, seed: int = 1, accounts_per_biller: int = 400) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.secrets_path = folder / "biller-secrets.json"
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        self.rows = catalogue.rows(self.url)
        self._arguments = ("--seed", str(seed), "--accounts-per-biller", str(accounts_per_biller))
        self._process: subprocess.Popen[bytes] | None = None
        self._control = httpx.Client(base_url=self.url, timeout=10)

    def start(self) -> "SandboxBillers":
        """Serve, and wait until they listen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.secrets_path.exists():
            made = {each.id: secrets.token_hex(16) for each in INSTITUTIONS}
            self.secrets_path.write_text(json.dumps(made), encoding="utf-8")
        command = [sys.executable, "-m", "sandbox.billers", "--port", str(self._port)]
        command += ["--state", str(self.folder / "state"), "--data-dir", str(self.data_dir)]
        command += ["--secrets", str(self.secrets_path), *self._arguments]
        with (self.folder / "billers.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=with_parent()
            )
        alive = self._process
        wait_until(lambda: listens(self._port), "the billers", 30, lambda: alive.poll() is None)
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

    def __enter__(self) -> "SandboxBillers":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._control.close()

    def secret(self, biller: str) -> str:
        """What this biller shares with us."""
        known: dict[str, str] = json.loads(self.secrets_path.read_text(encoding="utf-8"))
        return known[biller]

    def accounts(self, biller: str, *, limit: int = 100, owing: bool | None = True) -> list[str]:
        """Account numbers of a biller: those that owe something, as a rule; `owing=None` is all."""
        asked = {"biller": biller, "limit": str(limit)}
        if owing is not None:
            asked["owing"] = str(owing).lower()
        told: list[str] = self._ask("GET", "/sandbox/accounts", params=asked)
        return told

    def book(self, biller: str | None = None) -> list[dict[str, Any]]:
        """Every apply and unapply, oldest first: number, biller, kind, serial, bill_number, amount_minor, at."""
        told: list[dict[str, Any]] = self._ask(
            "GET", "/sandbox/book", params={"biller": biller} if biller else None
        )
        return told

    def issue_bill(self, biller: str, account_number: str, amount_minor: int, **more: Any) -> str:
        """A new bill; its number. `more`: period, expires_in_seconds (negative is expired)."""
        asked = {
            "biller": biller,
            "account_number": account_number,
            "amount_minor": amount_minor,
            **more,
        }
        return str(self._ask("POST", "/sandbox/bills", body=asked)["bill_number"])

    def add_fault(self, biller: str, operation: str, kind: str, **more: Any) -> None:
        """Have a biller ("*" is any) err at the next call of `operation` ("*" is any). `more`: times, probability,
        seconds, code."""
        asked = {"biller": biller, "operation": operation, "kind": kind, **more}
        self._ask("POST", "/sandbox/faults", body=asked)

    def clear_faults(self, biller: str | None = None) -> None:
        """Have this biller, or all of them, be well again."""
        self._ask("DELETE", "/sandbox/faults", params={"biller": biller} if biller else None)

    def fired(self) -> dict[str, int]:
        """How often each fault fired, ever, by "biller:operation:kind"."""
        told: dict[str, int] = self._ask("GET", "/sandbox/faults")["fired"]
        return told

    def advance_clock(self, seconds: int) -> None:
        """Put their clock forward, for good: the next day, bills that expire."""
        self._ask("POST", "/sandbox/clock", body={"advance_seconds": seconds})

    def answer_day_files(self, day: str) -> dict[str, Any]:
        """Have the billers by file book our day file (YYYYMMDD) and write theirs; what came of it, by biller."""
        told: dict[str, Any] = self._ask(
            "POST", "/sandbox/file-billers/answer", params={"day": day}
        )
        return told

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        answer = self._control.request(method, path, params=params, json=body)
        assert answer.is_success, answer.text
        return answer.json()

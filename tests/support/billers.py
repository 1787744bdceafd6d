"""The sandbox's billers as a real process on a free port, with secrets of their own and control endpoints.

A test can put their clock forward, for example past the expiry of bills. Faults fire as "biller:operation:kind".
"""

import json
import secrets
from pathlib import Path
from typing import Any, Self

from sandbox import catalogue
from sandbox.billers.biller_list import BILLERS
from tests.support.process import SandboxProcess


class SandboxBillers(SandboxProcess):
    """`python -m sandbox.billers`, remembering in `folder`.

    `rows` are the catalogue's, `secrets_path` and `data_dir` what METERHALL_BILLER_SECRETS and METERHALL_DATA_DIR name.
    """

    def __init__(self, folder: Path, *, seed: int = 1, accounts_per_biller: int = 400) -> None:
        self.data_dir = folder / "data"
        self.secrets_path = folder / "biller-secrets.json"
        arguments = ["--state", folder / "state", "--data-dir", self.data_dir]
        arguments += ["--secrets", self.secrets_path, "--seed", seed]
        arguments += ["--accounts-per-biller", accounts_per_biller]
        super().__init__("billers", folder, [str(each) for each in arguments])
        self.rows = catalogue.rows(self.url)

    def start(self) -> Self:
        """Create their secrets at the first start; start the process, and wait until it is ready."""
        if not self.secrets_path.exists():
            new_secrets = {each.id: secrets.token_hex(16) for each in BILLERS}
            self.folder.mkdir(parents=True, exist_ok=True)
            self.secrets_path.write_text(json.dumps(new_secrets), encoding="utf-8")
        return super().start()

    def secret(self, biller: str) -> str:
        """Return the secret that this biller shares with us."""
        known: dict[str, str] = json.loads(self.secrets_path.read_text(encoding="utf-8"))
        return known[biller]

    def accounts(self, biller: str, *, limit: int = 100, owing: bool | None = True) -> list[str]:
        """Return account numbers of a biller: by default those with unpaid bills; `owing=None` means all."""
        query = {"biller": biller, "limit": str(limit)}
        if owing is not None:
            query["owing"] = str(owing).lower()
        numbers: list[str] = self.control("GET", "/sandbox/accounts", params=query)
        return numbers

    def book(self, biller: str | None = None) -> list[dict[str, Any]]:
        """Return every apply and unapply, oldest first: number, biller, kind, serial, bill_number, amount_minor, at."""
        lines: list[dict[str, Any]] = self.control(
            "GET", "/sandbox/book", params={"biller": biller} if biller else None
        )
        return lines

    def issue_bill(self, biller: str, account_number: str, amount_minor: int, **more: Any) -> str:
        """Issue a bill and return its number. `more`: period, expires_in_seconds (negative: expired)."""
        bill = {
            "biller": biller,
            "account_number": account_number,
            "amount_minor": amount_minor,
            **more,
        }
        return str(self.control("POST", "/sandbox/bills", json=bill)["bill_number"])

    def add_fault(self, biller: str, operation: str, kind: str, **more: Any) -> None:
        """Add a fault to the next call of `operation` at a biller ("*": any).

        `more`: times, probability, seconds, code.
        """
        fault = {"biller": biller, "operation": operation, "kind": kind, **more}
        self.control("POST", "/sandbox/faults", json=fault)

    def clear_faults(self, biller: str | None = None) -> None:
        """Remove the faults of this biller, or of all billers."""
        self.control("DELETE", "/sandbox/faults", params={"biller": biller} if biller else None)

    def answer_day_files(self, day: str) -> dict[str, Any]:
        """Let the billers by file book our day file (YYYYMMDD) and write theirs; return the outcome by biller."""
        outcomes: dict[str, Any] = self.control(
            "POST", "/sandbox/file-billers/answer", params={"day": day}
        )
        return outcomes

"""The sandbox's billers as a real process on a free port, with secrets of their own, and the strings to pull.

Put their clock forward: the next day, bills that expire. Faults fire as "biller:operation:kind".
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
        """Make their secrets at the first time; serve, and wait until they answer."""
        if not self.secrets_path.exists():
            made = {each.id: secrets.token_hex(16) for each in BILLERS}
            self.folder.mkdir(parents=True, exist_ok=True)
            self.secrets_path.write_text(json.dumps(made), encoding="utf-8")
        return super().start()

    def secret(self, biller: str) -> str:
        """What this biller shares with us."""
        known: dict[str, str] = json.loads(self.secrets_path.read_text(encoding="utf-8"))
        return known[biller]

    def accounts(self, biller: str, *, limit: int = 100, owing: bool | None = True) -> list[str]:
        """Account numbers of a biller: those that owe something, as a rule; `owing=None` is all."""
        asked = {"biller": biller, "limit": str(limit)}
        if owing is not None:
            asked["owing"] = str(owing).lower()
        told: list[str] = self.ask("GET", "/sandbox/accounts", params=asked)
        return told

    def book(self, biller: str | None = None) -> list[dict[str, Any]]:
        """Every apply and unapply, oldest first: number, biller, kind, serial, bill_number, amount_minor, at."""
        told: list[dict[str, Any]] = self.ask(
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
        return str(self.ask("POST", "/sandbox/bills", json=asked)["bill_number"])

    def add_fault(self, biller: str, operation: str, kind: str, **more: Any) -> None:
        """Have a biller ("*" is any) err at the next call of `operation` ("*" is any). `more`: times, probability,
        seconds, code."""
        asked = {"biller": biller, "operation": operation, "kind": kind, **more}
        self.ask("POST", "/sandbox/faults", json=asked)

    def clear_faults(self, biller: str | None = None) -> None:
        """Have this biller, or all of them, be well again."""
        self.ask("DELETE", "/sandbox/faults", params={"biller": biller} if biller else None)

    def answer_day_files(self, day: str) -> dict[str, Any]:
        """Have the billers by file book our day file (YYYYMMDD) and write theirs; what came of it, by biller."""
        told: dict[str, Any] = self.ask("POST", "/sandbox/file-billers/answer", params={"day": day})
        return told

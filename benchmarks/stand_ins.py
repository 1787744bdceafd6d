"""Stand-ins of the institutions: the sandbox's PSP and billers as processes, and accounts at the billers."""

import json
import secrets
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from benchmarks.machine.running import running
from benchmarks.machine.stage import Stage
from benchmarks.measured_city import CHANNEL, MeasuredCity
from events.bills import LookUpBills
from events.ids import uuid7
from sandbox import catalogue
from sandbox.billers.biller_list import BILLERS
from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import HOST, free_port

ACCOUNTS_PER_BILLER = 1_000
CALLED = [each.id for each in BILLERS if each.settled_by == "call"]

_BILLERS = text("""
    INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en, timeout_ms, max_concurrency)
    VALUES (:id, :name_zh, :name_en, :currency, :settled_by, CAST(:connector AS jsonb), :account_number_pattern,
        :account_number_hint_zh, :account_number_hint_en, :timeout_ms, :max_concurrency)
""")
_ACCOUNTS = text("""
    INSERT INTO accounts (id, biller_id, account_number)
    SELECT id, :biller, number FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS text[])) AS a (id, number)
""")


@dataclass(slots=True)
class StandIns:
    """The PSP and the billers of one measurement. `environment` are the settings with which Meterhall finds them."""

    psp: LocalProcess
    billers: LocalProcess
    billers_url: str
    environment: dict[str, str]

    def inject_fault(self, biller: str, kind: str, seconds: float) -> None:
        """From now on, each lookup at this biller ("*": any biller) has this fault."""
        fault = {"biller": biller, "operation": "lookup", "kind": kind, "seconds": seconds}
        self._call("/sandbox/faults", {**fault, "probability": 1.0})

    def accounts(self, biller: str, limit: int) -> list[str]:
        """Return numbers of accounts with unpaid bills at this biller."""
        query = urllib.parse.urlencode({"biller": biller, "limit": limit, "owing": "true"})
        numbers: list[str] = self._call(f"/sandbox/accounts?{query}")
        return numbers

    def book(self) -> list[dict[str, Any]]:
        """Return the payments that the billers have applied."""
        applied: list[dict[str, Any]] = self._call("/sandbox/book")
        return applied

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.billers_url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)


@asynccontextmanager
async def stand_ins(stage: Stage, city: MeasuredCity) -> AsyncIterator[StandIns]:
    """Run the PSP and the billers with empty books, and add the billers to the city's catalogue."""
    folder = stage.folder / f"stand-ins-{secrets.token_hex(4)}"
    folder.mkdir()
    key, hook = f"sk_test_{secrets.token_hex(24)}", f"whsec_{secrets.token_hex(24)}"
    secret_file = folder / "biller-secrets.json"
    secret_file.write_text(json.dumps({each: secrets.token_hex(16) for each in CALLED}))
    psp_settings = {"METERHALL_PSP_API_KEY": key, "METERHALL_PSP_WEBHOOK_SECRET": hook}
    psp = _process("psp", folder, psp_settings, ())
    files = ("--data-dir", str(folder / "data"), "--secrets", str(secret_file))
    count = ("--accounts-per-biller", str(ACCOUNTS_PER_BILLER))
    billers = _process("billers", folder, {}, (*files, *count))
    billers_url = billers.ready_url.removesuffix("/livez")
    environment = {
        "METERHALL_PSP_URL": psp.ready_url.removesuffix("/livez"),
        "METERHALL_PSP_API_KEY": key,
        "METERHALL_BILLER_SECRETS": str(secret_file),
    }
    await _add_to_catalogue(city, billers_url)
    async with running([psp, billers]):
        yield StandIns(psp, billers, billers_url, environment)


async def open_accounts(
    city: MeasuredCity, institutions: StandIns, billers: Sequence[str], each: int
) -> list[UUID]:
    """Open `each` accounts with unpaid bills at each of these billers; return their ids, one biller after the other."""
    opened: list[list[UUID]] = []
    async with city.engine.begin() as connection:
        for biller in billers:
            numbers = institutions.accounts(biller, each)
            ids = [uuid7() for _ in numbers]
            values = {"biller": biller, "ids": ids, "numbers": numbers}
            await connection.execute(_ACCOUNTS, values)
            opened.append(ids)
    return [id for turn in zip(*opened, strict=True) for id in turn]


def look_up(account_id: UUID) -> LookUpBills:
    """Return a command that looks up the bills of this account."""
    return LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=account_id)


def _process(
    name: str, folder: Path, environment: dict[str, str], more: tuple[str, ...]
) -> LocalProcess:
    port = free_port()
    arguments = ("--port", str(port), "--state", str(folder / name), *more)
    url = f"http://{HOST}:{port}/livez"
    return LocalProcess(
        name, f"sandbox.{name}", environment, folder / f"{name}.log", url, arguments
    )


async def _add_to_catalogue(city: MeasuredCity, billers_url: str) -> None:
    rows = [each for each in catalogue.rows(billers_url) if each["kind"] == "biller"]
    async with city.engine.begin() as connection:
        for row in rows:
            await connection.execute(_BILLERS, {**row, "connector": json.dumps(row["connector"])})

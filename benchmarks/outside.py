"""The others: the sandbox's PSP and billers as processes, and an account at each biller that is called."""

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
class Outside:
    """The PSP and the billers of one measurement. `environment` is what Meterhall's processes are told of them."""

    psp: LocalProcess
    billers: LocalProcess
    billers_url: str
    environment: dict[str, str]

    def fault(self, biller: str, kind: str, seconds: float) -> None:
        """Each lookup at this biller ("*" is any) has this fault from now on."""
        asked = {"biller": biller, "operation": "lookup", "kind": kind, "seconds": seconds}
        self._ask("/sandbox/faults", {**asked, "probability": 1.0})

    def accounts(self, biller: str, limit: int) -> list[str]:
        """Account numbers that owe something there."""
        asked = urllib.parse.urlencode({"biller": biller, "limit": limit, "owing": "true"})
        found: list[str] = self._ask(f"/sandbox/accounts?{asked}")
        return found

    def book(self) -> list[dict[str, Any]]:
        """Everything that the billers have applied."""
        found: list[dict[str, Any]] = self._ask("/sandbox/book")
        return found

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.billers_url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


@asynccontextmanager
async def outside(stage: Stage, city: MeasuredCity) -> AsyncIterator[Outside]:
    """Both, with nothing in their books, and the billers in the city's catalogue."""
    folder = stage.folder / f"outside-{secrets.token_hex(4)}"
    folder.mkdir()
    key, hook = f"sk_test_{secrets.token_hex(24)}", f"whsec_{secrets.token_hex(24)}"
    secret_file = folder / "biller-secrets.json"
    secret_file.write_text(json.dumps({each: secrets.token_hex(16) for each in CALLED}))
    told = {"METERHALL_PSP_API_KEY": key, "METERHALL_PSP_WEBHOOK_SECRET": hook}
    psp = _process("psp", folder, told, ())
    more = ("--data-dir", str(folder / "data"), "--secrets", str(secret_file))
    count = ("--accounts-per-biller", str(ACCOUNTS_PER_BILLER))
    billers = _process("billers", folder, {}, (*more, *count))
    billers_url = billers.ready_url.removesuffix("/livez")
    environment = {
        "METERHALL_PSP_URL": psp.ready_url.removesuffix("/livez"),
        "METERHALL_PSP_API_KEY": key,
        "METERHALL_BILLER_SECRETS": str(secret_file),
    }
    await _catalogue(city, billers_url)
    async with running([psp, billers]):
        yield Outside(psp, billers, billers_url, environment)


async def open_accounts(
    city: MeasuredCity, at: Outside, billers: Sequence[str], each: int
) -> list[UUID]:
    """So many accounts of each of these billers that owe something, in turn."""
    opened: list[list[UUID]] = []
    async with city.engine.begin() as connection:
        for biller in billers:
            numbers = at.accounts(biller, each)
            ids = [uuid7() for _ in numbers]
            named = {"biller": biller, "ids": ids, "numbers": numbers}
            await connection.execute(_ACCOUNTS, named)
            opened.append(ids)
    return [id for turn in zip(*opened, strict=True) for id in turn]


def look_up(account_id: UUID) -> LookUpBills:
    """The command that asks what this account owes."""
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


async def _catalogue(city: MeasuredCity, billers_url: str) -> None:
    rows = [each for each in catalogue.rows(billers_url) if each["kind"] == "biller"]
    async with city.engine.begin() as connection:
        for row in rows:
            await connection.execute(_BILLERS, {**row, "connector": json.dumps(row["connector"])})

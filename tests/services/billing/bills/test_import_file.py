"""A biller's file of bills: all or nothing, again without an effect, and never a bill opened that is being paid."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.import_file import BillsImported, import_bills
from services.billing.bills.read_file import (
    COLUMNS,
    BadLine,
    BillLine,
    Expected,
    FileError,
    read_bills,
)
from services.billing.catalog import import_catalogue
from tests.services.billing.bills.conftest import Hall
from tests.services.billing.catalog.rows import biller, good
from tests.support.command_line import meterhall
from tests.support.databases import Database

BILLER = "lz-water"
EXPECTED = Expected("CNY", "^[0-9]{10}$")
GOOD = {
    "account_number": "1000200030",
    "bill_number": "B1",
    "period": "2026-11",
    "amount_minor": "8850",
    "currency": "CNY",
    "rule": "exact",
    "min_minor": "",
    "max_minor": "",
    "multiple_minor": "",
    "due_on": "2099-12-10",
    "expires_at": "2099-12-31T23:59:59+08:00",
}


def line(**different: str) -> str:
    return ",".join({**GOOD, **different}.values())


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bills.csv"


@pytest.fixture
async def by_file(engine: AsyncEngine) -> None:
    by_file = biller(BILLER, settled_by="file", connector={"dialect": "file"})
    async with engine.begin() as connection:
        await import_catalogue(connection, good(by_file, biller("hz-water")))


async def import_(engine: AsyncEngine, path: Path) -> BillsImported:
    rows = list(read_bills(path, EXPECTED))
    assert not [each for each in rows if isinstance(each, BadLine)]
    async with engine.begin() as connection:
        return await import_bills(
            connection, BILLER, (each for each in rows if isinstance(each, BillLine))
        )


async def rows(engine: AsyncEngine) -> dict[str, Any]:
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT * FROM bills"))
        return {row.bill_number: row for row in found}


@pytest.mark.usefixtures("by_file")
async def test_bills_are_imported_and_the_same_file_changes_nothing(
    engine: AsyncEngine, file: Path
) -> None:
    second = line(bill_number="B2", rule="range", min_minor="100", max_minor="900", due_on="")
    write(file, line(), second, "", line(account_number="1000200031"))
    assert await import_(engine, file) == BillsImported(3, 0, 0)
    before = await rows(engine)
    assert (before["B2"].min_minor, before["B2"].max_minor, before["B2"].due_on) == (100, 900, None)
    assert await import_(engine, file) == BillsImported(0, 0, 3)
    assert await rows(engine) == before
    write(file, line(amount_minor="9000"), second, line(account_number="1000200031"))
    assert await import_(engine, file) == BillsImported(0, 1, 2)
    assert (await rows(engine))["B2"] == before["B2"]


@pytest.mark.usefixtures("by_file")
async def test_more_rows_than_go_into_one_statement(engine: AsyncEngine, file: Path) -> None:
    many = [line(account_number=f"{n:010d}", bill_number=f"N{n}") for n in range(12_001)]
    write(file, *many)
    assert await import_(engine, file) == BillsImported(12_001, 0, 0)
    write(file, *reversed(many))
    assert await import_(engine, file) == BillsImported(0, 0, 12_001)


@pytest.mark.usefixtures("by_file")
@pytest.mark.parametrize(
    ("state", "expires_at", "opens"),
    [
        (None, "2099-12-31T23:59:59+08:00", True),
        (None, "2020-12-31T23:59:59+08:00", False),
        ("accepted", "2099-12-31T23:59:59+08:00", False),
        ("rejected", "2099-12-31T23:59:59+08:00", True),
    ],
)
async def test_a_closed_bill_opens_unless_it_is_expired_or_being_paid(
    engine: AsyncEngine, file: Path, state: str | None, expires_at: str, opens: bool
) -> None:
    write(file, line(expires_at=expires_at))
    await import_(engine, file)
    bill = (await rows(engine))["B1"]
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE bills SET closed_at = now()"))
        if state:
            await connection.execute(
                text("""INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor,
                        currency, funding, payment_method, request_hash, state, captured_minor, version,
                        finished_at)
                    VALUES (gen_random_uuid(), 'app', 'p', :bill, 'lz-water', :account, 8850, 'CNY', 'psp',
                        'pm_card_visa', sha256('x'), :state, 0, 1,
                        CASE WHEN :state = 'rejected' THEN now() END)"""),
                {"bill": bill.id, "account": bill.account_id, "state": state},
            )
    done = await import_(engine, file)
    assert ((await rows(engine))["B1"].closed_at is None) == opens
    assert done == (BillsImported(0, 1, 0) if opens else BillsImported(0, 0, 1))


@pytest.mark.parametrize(
    ("bad", "field", "says"),
    [
        (line(account_number="12"), "account_number", "catalogue"),
        (line(bill_number=""), "bill_number", "printable"),
        (line(amount_minor="88.50"), "amount_minor", "minor units"),
        (line(amount_minor="1_000"), "amount_minor", "minor units"),
        (line(amount_minor="-5"), "amount_minor", "negative"),
        (line(amount_minor=""), "amount_minor", "minor units"),
        (line(currency="USD"), "currency", "CNY"),
        (line(rule="about"), "rule", "at_least"),
        (line(rule="range"), "rule", "min_minor"),
        (line(min_minor="x"), "min_minor", "minor units"),
        (line(min_minor="9", max_minor="8"), "min_minor", "above max_minor"),
        (line(multiple_minor="0"), "multiple_minor", "at least 1"),
        (line(due_on="10.12.2026"), "due_on", "date"),
        (line(expires_at="2026-12-31"), "expires_at", "offset"),
        (line(expires_at="soon"), "expires_at", "2026-12-31T23:59:59+08:00"),
        (line() + ",", "line", "12 fields"),
        (line(), "bill_number", "line 2"),
    ],
)
def test_the_error_of_a_bad_row_names_line_and_field(
    file: Path, bad: str, field: str, says: str
) -> None:
    found = list(read_bills(write(file, line(), bad, line(bill_number="B9")), EXPECTED))
    assert [type(each) for each in found] == [BillLine, BadLine, BillLine]
    wrong = found[1]
    assert isinstance(wrong, BadLine)
    assert (wrong.line, [name for name, _ in wrong.faults]) == (3, [field])
    assert says in wrong.faults[0][1]
    assert "1000200030" not in str(wrong.faults)


def test_a_file_that_is_none_is_refused_as_a_whole(file: Path) -> None:
    file.write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="the header must be account_number,bill_number"):
        list(read_bills(file, EXPECTED))
    file.write_bytes(",".join(COLUMNS).encode() + b"\n\xff\xfe\n")
    with pytest.raises(FileError, match="not UTF-8"):
        list(read_bills(file, EXPECTED))
    write(file, '"' + line())
    with pytest.raises(FileError, match="not CSV"):
        list(read_bills(file, EXPECTED))


@pytest.mark.usefixtures("by_file")
async def test_on_the_command_line(
    engine: AsyncEngine, database: Database, file: Path, tmp_path: Path
) -> None:
    write(file, line(), line(bill_number="B2", amount_minor="x"), line(bill_number="B3", rule="?"))
    refused = await meterhall(database, "bills", "import", BILLER, str(file))
    assert refused.code == 1
    assert "line 3: amount_minor: must be a whole number" in refused.out
    assert "2 rows are bad. Nothing was imported" in refused.err
    assert await rows(engine) == {}
    skipped = await meterhall(
        database, "bills", "import", BILLER, str(file), "--skip-bad", "--json"
    )
    assert skipped.code == 1
    output = json.loads(skipped.out)
    assert output["imported"] == {"new": 1, "changed": 0, "unchanged": 0}
    assert [(each["line"], each["field"]) for each in output["errors"]] == [
        (3, "amount_minor"),
        (4, "rule"),
    ]
    quarantine = tmp_path / "bills.csv.bad"
    assert quarantine.stat().st_mode & 0o077 == 0
    assert "must be a whole number" in quarantine.read_text().splitlines()[1]
    assert set(await rows(engine)) == {"B1"}
    again = await meterhall(database, "bills", "import", BILLER, str(write(file, line())))
    assert (again.code, again.out) == (
        0,
        "Nothing has changed: all 1 bills are known already.\n",
    )
    mistakes = {"nobody": "There is no biller", "hz-water": "it does not work by file"}
    ran = await asyncio.gather(
        *(meterhall(database, "bills", "import", name, str(file)) for name in mistakes)
    )
    for wrong, says in zip(ran, mistakes.values(), strict=True):
        assert wrong.code == 1 and says in wrong.err and "Traceback" not in wrong.err


async def test_the_bills_of_the_sandbox_are_looked_up_and_known_accounts_told_apart(
    hall: Hall,
) -> None:
    folder = hall.billers.data_dir / "billers" / BILLER / "bills"
    assert (await import_(hall.engine, sorted(folder.glob("*.csv"))[-1])).new > 100
    number = hall.fresh(BILLER)
    found = await hall.command(BILLER, number)
    stranger = await hall.command(BILLER, "9999999999")
    await hall.look_up(found, stranger)
    assert (await hall.row(found.lookup_id)).state == "found"
    assert (await hall.row(stranger.lookup_id)).state == "no_such_account"
    async with hall.engine.begin() as connection:
        await connection.execute(
            text("UPDATE bills SET expires_at = now() WHERE account_id = :id"),
            {"id": found.account_id},
        )
    nothing = await hall.command(BILLER, number)
    await hall.look_up(nothing)
    assert (await hall.row(nothing.lookup_id)).state == "nothing_owed"
    bills = await hall.bills(found.account_id)
    assert bills and all(each.closed_at is None for each in bills)

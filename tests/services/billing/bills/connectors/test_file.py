"""A biller that works by file: bills come from our tables, and two day files meet."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import CHINA
from services.billing.bills.connectors.file import FileConnector
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    DayFileLine,
    Found,
    NoSuchAccount,
    NothingOwed,
    Unapplied,
)
from tests.support.billers import SandboxBillers

BILLER = "lz-water"


@pytest.fixture
async def kept(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """A biller with three accounts: one owes a bill, one has paid, and one the biller never wrote of."""
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
                    account_number_hint_zh, account_number_hint_en)
                VALUES (:id, '水', 'Water', 'CNY', 'file', '{"dialect": "file"}', '^[0-9]+$', '数字', 'digits')
            """),
            {"id": BILLER},
        )
        owing, idle, ours = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        await connection.execute(
            text(
                "INSERT INTO accounts (id, biller_id, account_number) VALUES (:id, :biller, :number)"
            ),
            [
                {"id": owing, "biller": BILLER, "number": "1000000001"},
                {"id": idle, "biller": BILLER, "number": "1000000002"},
                {"id": ours, "biller": BILLER, "number": "1000000003"},
            ],
        )
        later, now = datetime.now(UTC) + timedelta(days=9), datetime.now(UTC)
        bill = {"account": owing, "closed": None, "expires": later}
        await connection.execute(
            text("""
                INSERT INTO bills (id, account_id, bill_number, period, amount_minor, currency, rule, min_minor,
                    multiple_minor, expires_at, closed_at)
                VALUES (gen_random_uuid(), :account, :number, '2026-10', 8850, 'CNY', 'at_least', 100, 10, :expires,
                    :closed)
            """),
            [
                {**bill, "number": "open"},
                {**bill, "number": "closed", "closed": now},
                {**bill, "account": idle, "number": "closed too", "closed": now},
                {**bill, "number": "expired", "expires": now - timedelta(seconds=1)},
            ],
        )
    yield engine


async def test_a_lookup_answers_from_what_was_imported(kept: AsyncEngine, tmp_path: Path) -> None:
    connector = FileConnector(kept, BILLER, "CNY", tmp_path)
    found = await connector.lookup("1000000001")
    assert isinstance(found, Found)
    (bill,) = found.bills
    assert (bill.bill_number, bill.period, bill.amount_minor) == ("open", "2026-10", 8_850)
    assert (bill.rule, bill.min_minor, bill.multiple_minor) == ("at_least", 100, 10)
    assert (bill.max_minor, bill.due_on) == (None, None)
    assert await connector.lookup("1000000002") == NothingOwed()
    assert await connector.lookup("1000000003") == NoSuchAccount()


async def test_nothing_is_asked_one_by_one(engine: AsyncEngine, tmp_path: Path) -> None:
    connector = FileConnector(engine, BILLER, "CNY", tmp_path)
    application = Application("s-1", "1000000001", "open", 8_850, "CNY")
    assert await connector.apply(application) == Applied("s-1")
    assert await connector.query(application) == Applied("s-1")
    assert await connector.unapply(application) == Unapplied()


async def test_the_biller_answers_our_day_file_with_its_own(
    engine: AsyncEngine, billers: SandboxBillers
) -> None:
    connector = FileConnector(engine, BILLER, "CNY", billers.data_dir)
    today = datetime.now(CHINA).replace(microsecond=0)
    (bills,) = (connector.folder / "bills").glob("*.csv")
    owed = [line.split(",") for line in bills.read_text(encoding="utf-8").splitlines()[1:4]]
    lines = [
        DayFileLine(uuid.uuid4().hex, each[1], int(each[3]), "CNY", "apply", today) for each in owed
    ]
    taken_back = DayFileLine(
        lines[0].serial, owed[0][1], int(owed[0][3]), "CNY", "unapply", today + timedelta(seconds=1)
    )
    strange = DayFileLine(uuid.uuid4().hex, "nobody's", 100, "CNY", "apply", today)
    with pytest.raises(OSError, match="incoming"):
        await connector.day_file(today.date() + timedelta(days=400))
    path = connector.report(today.date(), [*lines, taken_back, strange])
    assert path.read_text(encoding="utf-8").startswith("5|")
    assert list(path.parent.glob("*.partial")) == []
    for _ in range(2):
        result = billers.answer_day_files(f"{today:%Y%m%d}")[BILLER]
        assert result["booked"] == 4
        assert result["refused"] == [{"serial": strange.serial, "code": "bill_not_found"}]
        theirs = connector.parse_day_file(await connector.day_file(today.date()))
        assert theirs == [*lines, taken_back]

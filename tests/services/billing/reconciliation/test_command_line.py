"""The commands of finance ops, run as processes: what they print, and how they exit."""

import json
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.payments.model import serial_of
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, NOON, WATER, charge
from tests.support.command_line import meterhall
from tests.support.databases import Database


async def test_a_day_from_files_to_agreement(
    engine: AsyncEngine, database: Database, tmp_path: Path
) -> None:
    paid = await books.pay(engine, [8_850, 100])
    transaction = {
        "id": "txn_1",
        "object": "balance_transaction",
        "type": "charge",
        "reporting_category": "charge",
        "amount": 8_850,
        "fee": 53,
        "net": 8_797,
        "currency": "cny",
        "created": int(NOON.timestamp()),
        "source": {
            "id": "ch_1",
            "object": "charge",
            "metadata": {"charge_id": str(paid[0]), "kind": "payment"},
        },
    }
    listed = tmp_path / "psp.json"
    listed.write_text(json.dumps({"data": [transaction], "has_more": False}))
    day_file = tmp_path / "water.txt"
    day_file.write_text(
        f"1|8850\n20261123|{serial_of(paid[0])}|B|8850|apply|2026-11-23T12:00:00+08:00\n"
    )
    for source, file in (("psp", listed), (WATER.id, day_file)):
        done = await meterhall(database, "statements", "import-file", source, str(DAY), str(file))
        assert done.code == 0, done.err
    again = await meterhall(database, "statements", "import-file", "psp", str(DAY), str(listed))
    assert "had it already" in again.out

    shown = await meterhall(database, "reconcile", str(DAY))
    assert shown.code == 1
    assert "breaks list" in shown.err
    assert max(map(len, shown.out.splitlines())) <= 80
    listed_breaks = await meterhall(database, "breaks", "list")
    assert max(map(len, listed_breaks.out.splitlines())) <= 80
    assert str(paid[1]) in listed_breaks.out
    result = json.loads((await meterhall(database, "breaks", "list", "--json")).out)
    assert {(each["type"], each["reference"], each["ours_minor"]) for each in result} == {
        ("missing_external", str(paid[1]), 100),
        ("missing_external", serial_of(paid[1]), 100),
    }

    await books.keep(engine, [charge(paid[0], 8_850), charge(paid[1], 100)])
    day_file.write_text(
        f"2|8950\n20261123|{serial_of(paid[0])}|B|8850|apply|2026-11-23T12:00:00+08:00\n"
        f"20261123|{serial_of(paid[1])}|B|100|apply|2026-11-23T12:00:00+08:00\n"
    )
    await meterhall(database, "statements", "import-file", WATER.id, str(DAY), str(day_file))
    agreed = json.loads((await meterhall(database, "reconcile", str(DAY), "--json")).out)
    by_source = {each["source"]: each for each in agreed["sources"]}
    assert by_source[WATER.id]["matched"] == 2
    # The fee that the first version declared is booked; the second, without it, makes that a break.
    assert by_source["psp:stripe"]["breaks"] == 1


async def test_a_statement_of_another_day_or_a_part_of_one_is_refused(
    engine: AsyncEngine, database: Database, tmp_path: Path
) -> None:
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"data": [], "has_more": True}))
    refused = await meterhall(database, "statements", "import-file", "psp", str(DAY), str(page))
    assert refused.code == 1
    assert "complete" in " ".join(refused.out.split())
    assert (await books.everything(engine))["statements"] == []


async def test_audit_exits_with_1_when_an_invariant_is_violated(
    engine: AsyncEngine, owner_engine: AsyncEngine, database: Database
) -> None:
    await books.pay(engine, [100], at=datetime.now(UTC))
    good = await meterhall(database, "audit")
    assert (good.code, good.out) == (0, "Every invariant holds.\n")
    recent = await meterhall(database, "audit", "--unsealed")
    assert (recent.code, recent.out) == (0, "Every invariant holds for what is not sealed.\n")
    async with owner_engine.begin() as connection:
        await connection.execute(text("DELETE FROM receipts"))
    bad = await meterhall(database, "audit", "--json")
    assert bad.code == 1
    assert [each["invariant"] for each in json.loads(bad.out)] == ["receipt_for_money_taken"]

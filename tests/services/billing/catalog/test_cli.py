"""The catalogue on the command line, with the catalogue of the sandbox."""

import json
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox import catalogue
from tests.services.billing.catalog.rows import biller, lines
from tests.support.command_line import meterhall
from tests.support.databases import Database


async def test_import_and_show(database: Database, engine: AsyncEngine, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.jsonl"
    rows = catalogue.rows("http://127.0.0.1:9")
    file.write_bytes(b"".join(lines(*rows)))
    first = await meterhall(database, "catalog", "import", str(file))
    assert (first.code, first.err) == (0, "")
    again = await meterhall(database, "catalog", "import", str(file), "--prune", "--json")
    output = json.loads(again.out)
    assert (again.code, output["changed_nothing"], output["errors"]) == (0, True, [])
    shown = json.loads((await meterhall(database, "catalog", "show", "--json")).out)
    billers = [row for row in rows if row["kind"] == "biller"]
    assert shown["totals"]["billers"] == len(billers)
    assert (shown["totals"]["provinces"], shown["totals"]["cities"]) == (28, catalogue.CITIES)
    screen = await meterhall(database, "catalog", "show")
    assert "in 28 provinces and 253 prefecture-level cities." in " ".join(screen.out.split())
    assert max(len(line) for line in screen.out.splitlines() if line.startswith("│")) <= 80


async def test_a_bad_file_changes_nothing_and_says_why(
    database: Database, engine: AsyncEngine, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.jsonl"
    file.write_bytes(b"".join(lines(biller("good"), biller(timeout_ms=1), "{")))
    refused = await meterhall(database, "catalog", "import", str(file))
    assert refused.code == 1
    assert "line 2: timeout_ms:" in refused.out and "line 3: line: not JSON" in refused.out
    assert refused.err == "2 rows are bad. Nothing was imported; correct them.\n"
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT id FROM billers"))).all() == []
    skipped = await meterhall(database, "catalog", "import", str(file), "--skip-bad")
    assert skipped.code == 1 and "They were left out" in skipped.err
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT id FROM billers")) == "good"
    both = await meterhall(database, "catalog", "import", str(file), "--skip-bad", "--prune")
    assert both.code == 1 and "--prune needs" in both.err
    gone = await meterhall(database, "catalog", "import", str(tmp_path / "none.jsonl"))
    assert gone.code == 1 and "Traceback" not in gone.err

"""`meterhall bills …`: bills of billers that work by file."""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chassis.output import as_json, fail
from services.billing.cli.session import run, transaction

if TYPE_CHECKING:
    from services.billing.bills.import_file import BillsImported
    from services.billing.bills.read_file import BadLine, BillLine, Expected

commands = typer.Typer(name="bills", help="Bills of billers that work by file.")

# More errors on a screen do not help; --json has all.
MOST_SHOWN = 50


@commands.callback()
def _group() -> None:
    # With a callback a single command keeps its name: `meterhall bills import`.
    pass


@commands.command("import")
def import_(
    biller: Annotated[str, typer.Argument(help="the biller's id in the catalogue")],
    file: Annotated[Path, typer.Argument(help="CSV with the biller's bills")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="import the good rows; the bad ones go to FILE.bad")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """Import a biller's bills: all of them, or none when a row is bad. The same file again changes nothing."""
    from services.billing.bills.read_file import BadLine, FileError, read_bills

    expected = run(_expected(biller))
    try:
        bad = [each for each in read_bills(file, expected) if isinstance(each, BadLine)]
        done = run(_import(biller, _good(file, expected))) if skip_bad or not bad else None
    except FileError as error:
        fail(f"{file}: {error}. Nothing was imported.")
    quarantine = _quarantine(file, bad) if bad and skip_bad else None
    if json:
        faults = [
            {"line": each.line, "field": name, "text": fault}
            for each in bad
            for name, fault in each.faults
        ]
        as_json({"imported": asdict(done) if done else None, "errors": faults})
    else:
        _print_result(bad, done)
    if bad:
        rows = f"{len(bad)} {'row is' if len(bad) == 1 else 'rows are'} bad."
        fail(
            f"{rows} They are in {quarantine}: correct and import them."
            if quarantine
            else f"{rows} Nothing was imported: correct them, or use --skip-bad."
        )


async def _expected(biller_id: str) -> "Expected":
    from services.billing.bills.read_file import Expected
    from services.billing.catalog import find_billers

    async with transaction() as connection:
        biller = (await find_billers(connection, [biller_id])).get(biller_id)
    if biller is None:
        fail(f"There is no biller {biller_id!r}: see meterhall catalog show")
    if biller.settled_by != "file":
        fail(f"{biller_id} is called when bills are looked up; it does not work by file.")
    return Expected(biller.currency, biller.account_number_pattern)


async def _import(biller_id: str, lines: "Iterator[BillLine]") -> "BillsImported":
    from services.billing.bills.import_file import import_bills

    async with transaction() as connection:
        return await import_bills(connection, biller_id, lines)


def _good(file: Path, expected: "Expected") -> "Iterator[BillLine]":
    # The file is read a second time instead of being kept in memory: it may have a million lines.
    from services.billing.bills.read_file import BillLine, read_bills

    return (each for each in read_bills(file, expected) if isinstance(each, BillLine))


def _quarantine(file: Path, bad: "list[BadLine]") -> Path:
    from services.billing.bills.read_file import COLUMNS

    path = file.with_name(f"{file.name}.bad")
    # It has account numbers, as the file itself: only its owner may read it.
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow((*COLUMNS, "line", "errors"))
        for each in bad:
            cells = (each.cells + [""] * len(COLUMNS))[: len(COLUMNS)]
            faults = "; ".join(f"{name}: {text}" for name, text in each.faults)
            rows.writerow((*cells, each.line, faults))
    return path


def _print_result(bad: "list[BadLine]", done: "BillsImported | None") -> None:
    faults = [(row.line, name, fault) for row in bad for name, fault in row.faults]
    for line, name, fault in faults[:MOST_SHOWN]:
        print(f"line {line}: {name}: {fault}")
    if len(faults) > MOST_SHOWN:
        print(f"… and {len(faults) - MOST_SHOWN} more; --json shows them all")
    if done is None:
        return
    if done.new or done.changed:
        print(f"Bills: {done.new} new, {done.changed} changed, {done.unchanged} unchanged.")
    else:
        print(f"Nothing has changed: all {done.unchanged} bills are known already.")

"""`meterhall reconcile`, `statements`, `breaks` and `audit`: do all books agree?"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chassis.output import as_json, fail, money, table
from services.billing.cli.session import engine, run, settings, transaction

if TYPE_CHECKING:
    from services.billing.audit import Violation
    from services.billing.bills.connectors import Connectors
    from services.billing.reconciliation import (
        Break,
        Reconciliation,
        Reported,
        StatementImported,
        Unavailable,
    )

commands = typer.Typer()
statements = typer.Typer(name="statements", help="Statements of the PSP and the billers.")
breaks = typer.Typer(name="breaks", help="What does not match.")
commands.add_typer(statements)
commands.add_typer(breaks)

AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]
Day = Annotated[
    datetime | None,
    typer.Argument(formats=["%Y-%m-%d"], help="Asia/Shanghai; yesterday, as a rule."),
]


@commands.command()
def reconcile(day: Day = None, json: AsJson = False) -> None:
    """Compare the day's statements with the ledger, item by item; exit 1 when a break is open."""
    from services.billing import reconciliation

    async def work() -> "Reconciliation":
        async with engine() as database:
            return await reconciliation.reconcile(database, _day(day))

    found = run(work())
    if json:
        sources = [{**asdict(each), "source": str(each.source)} for each in found.sources]
        as_json({"day": found.day, "agrees": found.agrees, "sources": sources})
    else:
        columns = ("source", "lines>", "transfers>", "matched>", "breaks>", "other days>")
        table(
            f"Reconciliation of {found.day}",
            columns,
            (
                (
                    each.source,
                    each.lines if each.has_statement else "none",
                    each.transfers,
                    each.matched,
                    each.breaks,
                    each.other_days,
                )
                for each in found.sources
            ),
        )
    if not found.agrees:
        fail("Not everything agrees. See: meterhall breaks list")


@commands.command()
def audit(
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Only what is not sealed yet: seconds, not minutes.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Prove the invariants of balances, payments, receipts, events and seals; exit 1 when one is violated."""
    from services.billing.audit import audit_database

    async def work() -> "list[Violation]":
        async with engine() as database:
            return await audit_database(database, unsealed=unsealed)

    found = run(work())
    if json:
        as_json([asdict(each) for each in found])
    elif found:
        table(
            "Violated invariants",
            ("invariant", "subject", "what"),
            ((f"{each.invariant}: {each.meaning}", each.subject, each.what) for each in found),
        )
    else:
        print(f"Every invariant holds{' for what is not sealed' if unsealed else ''}.")
    if found:
        fail(
            f"{len(found)} violations: money, receipts and states disagree. Stop and find the cause now."
        )


@statements.command("import")
def import_(
    day: Day = None,
    psp: Annotated[bool, typer.Option("--psp", help="Only the PSP's book.")] = False,
    biller: Annotated[
        list[str] | None, typer.Option("--biller", help="Only this biller's day file.")
    ] = None,
    all_billers: Annotated[
        bool, typer.Option("--all", help="Only the billers, all of them.")
    ] = False,
) -> None:
    """Fetch the day's statements and import them: the PSP's and all billers', unless an option says otherwise."""
    from services.billing import reconciliation
    from services.billing.psp import Psp

    everybody = not (psp or biller or all_billers)

    async def work() -> "list[StatementImported | Unavailable]":
        found: list[StatementImported | Unavailable] = []
        async with engine() as database, _connectors() as connectors:
            if psp or everybody:
                client = Psp(settings().psp_url, settings().psp_api_key.get_secret_value())
                found.append(await reconciliation.import_psp(database, client, _day(day)))
                await client.aclose()
            if biller or all_billers or everybody:
                ids = None if all_billers or not biller else biller
                found += await reconciliation.import_billers(database, connectors, _day(day), ids)
        return found

    _print_imports(run(work()))


@statements.command("import-file")
def import_file(
    source: Annotated[str, typer.Argument(help="psp, or a biller's id.")],
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"])],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
) -> None:
    """Import a statement from a file: the PSP's JSON list of balance transactions, or a biller's day file."""
    from services.billing import reconciliation

    async def work() -> "StatementImported | Unavailable":
        async with engine() as database, _connectors() as connectors:
            return await reconciliation.import_file(
                database, connectors, source, day.date(), file.read_bytes()
            )

    _print_imports([run(work())])


@statements.command()
def report(day: Day = None) -> None:
    """Write our day file for each biller that works by file."""
    from services.billing import reconciliation

    async def work() -> "list[Reported]":
        async with engine() as database, _connectors() as connectors:
            return await reconciliation.report_day(database, connectors, _day(day))

    found = run(work())
    columns = ("biller", "lines>", "file")
    table("Day files", columns, ((each.biller_id, each.lines, each.path) for each in found))


@breaks.command("list")
def list_(
    day: Annotated[
        datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Of one day only.")
    ] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="The resolved ones, too.")] = False,
    json: AsJson = False,
) -> None:
    """List breaks with both sides. Amounts are signed from the source's side: money that leaves it is negative."""
    from services.billing import reconciliation

    async def work() -> "list[Break]":
        async with transaction() as connection:
            return await reconciliation.list_breaks(
                connection, day.date() if day else None, resolved=resolved
            )

    found = run(work())
    if json:
        as_json([asdict(each) for each in found])
        return
    columns = ("day", "source", "break", "theirs>", "ours>")
    table(
        f"{len(found)} breaks",
        columns,
        (
            (
                f"{each.day:%m-%d}",
                each.source_id,
                f"{each.type} {each.kind}{'' if each.state == 'open' else ' (resolved)'}\n{each.reference}",
                _amount(each.theirs_minor, each.theirs_currency),
                _amount(each.ours_minor, each.ours_currency),
            )
            for each in found
        ),
    )


def _amount(amount_minor: int | None, currency: str | None) -> str:
    return "" if amount_minor is None or currency is None else money(amount_minor, currency)


def _print_imports(found: "Sequence[StatementImported | Unavailable]") -> None:
    from services.billing.reconciliation import StatementImported

    rows: list[tuple[object, ...]] = []
    for each in found:
        if isinstance(each, StatementImported):
            booked = f", {each.booked} booked" if each.booked else ""
            result = "imported" if each.changed else "had it already"
            rows.append((each.source, each.lines, f"{result} (version {each.version}){booked}"))
        else:
            rows.append((each.source, "none", each.why))
    table("Statements", ("source", "lines>", "result"), rows)
    missing = [str(each.source) for each in found if not isinstance(each, StatementImported)]
    if missing:
        fail(f"No statement from {', '.join(missing)}. Import again later.")


@asynccontextmanager
async def _connectors() -> "AsyncIterator[Connectors]":
    from errands import Institutions
    from services.billing.bills.connectors import Connectors

    async with engine() as database:
        connectors = Connectors(database, settings(), Institutions())
        try:
            yield connectors
        finally:
            await connectors.aclose()


def _day(given: datetime | None) -> date:
    from services.billing.reconciliation import yesterday

    return given.date() if given else yesterday()

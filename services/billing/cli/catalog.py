"""`meterhall catalog …`: import the catalogue file, and see what is offered."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chassis.output import as_json, fail, table
from services.billing.cli.session import run, transaction

commands = typer.Typer(name="catalog", help="Billers, services and where they are offered.")

# More errors on a screen do not help; --json has all.
MOST_SHOWN = 50


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines: billers, services, coverage")],
    prune: Annotated[
        bool, typer.Option("--prune", help="deactivate billers that the file does not name")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="import the good rows, and take nothing away")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """Import a catalogue: all of it, or nothing when a row is bad."""
    from services.billing.catalog import Catalogue, CatalogueImported, import_catalogue, read

    if prune and skip_bad:
        fail("--prune needs a file without bad rows: correct them, or leave --skip-bad out.")
    catalogue, errors = read(file)
    if not errors and not catalogue.billers:
        fail(f"{file} names no biller: nothing was imported.")

    async def work(rows: Catalogue) -> CatalogueImported:
        async with transaction() as connection:
            return await import_catalogue(connection, rows, prune=prune, complete=not errors)

    imported = run(work(catalogue)) if skip_bad or not errors else None
    faults = [asdict(each) for each in errors]
    if json:
        done = asdict(imported) | {"changed_nothing": imported.changed_nothing} if imported else {}
        as_json({"imported": imported is not None, **done, "errors": faults})
    else:
        for error in errors[:MOST_SHOWN]:
            print(error)
        if len(errors) > MOST_SHOWN:
            print(f"… and {len(errors) - MOST_SHOWN} more; --json shows them all")
        if imported:
            _print_result(imported)
    if errors:
        what = "They were left out." if skip_bad else "Nothing was imported; correct them."
        fail(f"{len(errors)} {'row is' if len(errors) == 1 else 'rows are'} bad. {what}")


@commands.command()
def show(json: Annotated[bool, typer.Option("--json", help="for a script")] = False) -> None:
    """Billers and services, and how many provinces and prefecture-level cities they cover."""
    from services.billing.catalog import find

    async def work() -> tuple[find.Totals, list[find.Biller], dict[str, list[find.Service]]]:
        async with transaction() as connection:
            billers = await find.all_billers(connection)
            services = await find.services_of(connection, [each.id for each in billers])
            return await find.totals(connection), billers, services

    totals, billers, services = run(work())
    if json:
        listed = [
            {**asdict(each), "services": [asdict(service) for service in services[each.id]]}
            for each in billers
        ]
        as_json({"totals": asdict(totals), "billers": listed})
        return
    table(
        "Catalogue",
        ["biller", "service", "category", "provinces>", "prefectures>"],
        [
            (
                each.id if each.active else f"{each.id} (off)",
                service.id if service else "",
                service.category if service else "",
                service.provinces if service else 0,
                service.prefectures if service else 0,
            )
            for each in billers
            for service in (*services[each.id], *([] if services[each.id] else [None]))
        ],
    )
    print(
        f"{totals.active_billers} of {totals.billers} billers are active, with {totals.services} services"
        f" in {totals.provinces} provinces and {totals.cities} prefecture-level cities."
    )


def _print_result(imported: object) -> None:
    from services.billing.catalog import CatalogueImported

    assert isinstance(imported, CatalogueImported)
    if imported.changed_nothing:
        print("Nothing has changed: the catalogue says all of this already.")
        return
    rows = (
        ("billers", imported.billers),
        ("services", imported.services),
        ("coverage", imported.coverage),
    )
    table(
        "Imported",
        ["", "new>", "changed>", "unchanged>", "removed>"],
        [(name, each.new, each.changed, each.unchanged, each.removed) for name, each in rows],
    )
    if imported.billers.removed:
        print("A biller that was removed is kept, but no longer active.")

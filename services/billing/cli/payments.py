"""`meterhall payments …` and `meterhall cases …`: a payment's history, payments under way, and cases for a person."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from chassis.output import as_json, fail, money, span, table
from services.billing.cli.session import run, transaction

if TYPE_CHECKING:
    from services.billing.history import HistoryLine, UnderWay
    from services.billing.outside.cases import Case
    from services.billing.subject import Subject

commands = typer.Typer()
_payments = typer.Typer(
    name="payments", help="Payments: one in full, and what is open.", no_args_is_help=True
)
_cases = typer.Typer(name="cases", help="What a person has to look into.", no_args_is_help=True)
commands.add_typer(_payments)
commands.add_typer(_cases)

AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]


@_payments.command("show")
def show(
    id: Annotated[UUID, typer.Argument(help="Of a payment, a refund or a top-up.")],
    json: AsJson = False,
) -> None:
    """Show everything that happened to a payment or a top-up, in order of time."""
    from services.billing.history import find_subjects, history

    async def read() -> "dict[Subject, list[HistoryLine]]":
        async with transaction() as connection:
            found = await find_subjects(connection, id)
            return {subject: await history(connection, subject) for subject in found}

    histories = run(read())
    if not histories:
        fail(f"There is no payment, refund or top-up {id}. Take the id from the wallet's request.")
    if json:
        as_json(
            [
                {"subject": str(subject), **asdict(line)}
                for subject, lines in histories.items()
                for line in lines
            ]
        )
        return
    for subject, lines in histories.items():
        title = f"{subject.kind.label} {subject.id} (times in UTC)"
        table(title, ("time", "what", "", "amount>"), _rows(lines))


@_payments.command("open")
def open_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The oldest so many.")] = 50,
    json: AsJson = False,
) -> None:
    """List payments, refunds and top-ups under way: their age, the missing answer, the time of the next try."""
    from services.billing.history import open_ones

    async def read() -> "list[UnderWay]":
        async with transaction() as connection:
            return await open_ones(connection, limit)

    found = run(read())
    if json:
        as_json([asdict(each) for each in found])
        return
    now = datetime.now(UTC)
    table(
        "Under way",
        ("what", "age>", "waits for", "next>"),
        (
            (
                _what(each, now),
                span((now - each.created_at).total_seconds()),
                "payer" if each.waits_for_payer else each.leg,
                "under way" if each.held else span((each.due_at - now).total_seconds()),
            )
            for each in found
        ),
    )


@_payments.command("give-up")
def give_up_promise(
    id: Annotated[UUID, typer.Argument(help="Of a promised payment, refund or top-up.")],
) -> None:
    """End a promise whose command is lost: its wallet sees `failed`. If the command arrives after all, it counts."""
    from services.billing.door.unkept import give_up

    async def write() -> str | None:
        async with transaction() as connection:
            return await give_up(connection, id)

    kind = run(write())
    if kind is None:
        fail(f"No promise {id} waits: see `meterhall payments show {id}`.")
    print(f"The promised {kind.replace('_', '-')} {id} has failed.")


@_cases.command("list")
def list_cases(
    all: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    json: AsJson = False,
) -> None:
    """List the open cases."""
    from services.billing.outside.cases import find_cases

    async def read() -> "list[Case]":
        async with transaction() as connection:
            return await find_cases(connection, closed=all)

    found = run(read())
    if json:
        as_json([asdict(each) for each in found])
        return
    table(
        f"{len(found)} cases (times in UTC)",
        ("no>", "opened", "kind", "about", "note"),
        (
            (
                each.id,
                f"{each.opened_at.astimezone(UTC):%m-%d %H:%M}",
                each.kind + (" (closed)" if each.closed_at else ""),
                f"{each.subject_kind} {each.subject}",
                each.note + _closed(each),
            )
            for each in found
        ),
    )


@_cases.command("close")
def close(number: Annotated[int, typer.Argument(help="From `meterhall cases list`.")]) -> None:
    """Close a case. If its cause goes on, the next attempt opens a new one."""
    from services.billing.outside.cases import close_by_hand

    async def write() -> bool:
        async with transaction() as connection:
            return await close_by_hand(connection, number)

    if not run(write()):
        fail(f"There is no open case {number}: see `meterhall cases list`.")
    print(f"Case {number} is closed.")


def _closed(each: "Case") -> str:
    # Old closed cases have no reason.
    if each.closed_at is None:
        return ""
    reason = f": {each.closed_because}" if each.closed_because else ""
    return f"\nClosed {each.closed_at.astimezone(UTC):%m-%d %H:%M}{reason}"


def _what(each: "UnderWay", now: datetime) -> str:
    # The id is not folded, so that it can be copied; tries are in `meterhall errands list`.
    where = f"{each.state}, at {each.institution}"
    if each.unknown_since:
        where += f", no answer for {span((now - each.unknown_since).total_seconds())}"
    return f"{each.kind}:{each.id}\n{where}"


def _rows(lines: "Sequence[HistoryLine]") -> list[tuple[str, str, str, str]]:
    # The day is a line of its own where it changes, so that there is room for milliseconds.
    rows: list[tuple[str, str, str, str]] = []
    day = ""
    for line in lines:
        at = line.at.astimezone(UTC)
        if f"{at:%F}" != day:
            day = f"{at:%F}"
            rows.append((day, "", "", ""))
        amount = money(line.amount_minor, line.currency or "") if line.amount_minor else ""
        rows.append((f"{at:%H:%M:%S}.{at.microsecond // 1000:03}", line.what, line.text, amount))
    return rows

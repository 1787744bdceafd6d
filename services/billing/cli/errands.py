"""`meterhall errands …`: external calls that are due; retry them, pause an institution, resume it."""

from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.output import as_json, fail, span, table
from services.billing.cli.session import run, transaction

if TYPE_CHECKING:
    from errands import Key
    from errands.listing import Backlog, Listed
    from errands.operate import Pause, Retried

commands = typer.Typer(
    name="errands",
    help="Calls that the PSP, a biller or our ledger must still answer.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]
Institution = Annotated[str, typer.Argument(help="psp, or biller:ID.")]
# A country has hundreds of billers; the error that lists them stays readable.
MOST_NAMES = 30


@commands.command("list")
def list_(
    institution: Annotated[
        str | None, typer.Option(help="Only those that wait there: psp, biller:ID or ledger.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only payment, refund, top_up, lookup, or late_payment and so on."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The first so many.")] = 50,
    json: AsJson = False,
) -> None:
    """List errands in the order in which they are due: the missing call, since when, and the time of the next try."""
    from errands.listing import list_errands

    wanted = None if kind is None else _kind(kind)

    async def read() -> "list[Listed]":
        async with transaction() as connection:
            if institution is not None:
                await _check(connection, institution)
            return await list_errands(connection, institution=institution, kind=wanted, limit=limit)

    found = run(read())
    if json:
        as_json([each._asdict() for each in found])
        return
    now = datetime.now(UTC)
    table("Errands", ("errand", "leg", "tries>", "next>"), (_row(each, now) for each in found))


@commands.command("institutions")
def institutions(
    all: Annotated[
        bool, typer.Option("--all", help="Those without errands, too: every name there is.")
    ] = False,
    json: AsJson = False,
) -> None:
    """List institutions: how many errands wait, how many are under way, and pauses with time and reason."""
    from errands.listing import Backlog, backlogs

    async def read() -> "list[Backlog]":
        async with transaction() as connection:
            found = {each.institution: each for each in await backlogs(connection)}
            names = await _names(connection) if all else found.keys()
        return [
            found.get(name) or Backlog(name, 0, 0, 0, None, None, None) for name in sorted(names)
        ]

    shown = run(read())
    if json:
        as_json([each._asdict() for each in shown])
        return
    table(
        "Institutions (times in UTC)",
        ("institution", "waiting>", "due for>", "under way>", "unknown>"),
        (
            (
                each.institution + _paused(each),
                each.waiting,
                "" if each.oldest_seconds is None else span(max(each.oldest_seconds, 1)),
                each.under_way,
                each.unknown,
            )
            for each in shown
        ),
    )


@commands.command()
def retry(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="INSTITUTION|KIND:ID",
            help="All that wait at psp, biller:ID or ledger; or single errands, as `errands list` names them.",
        ),
    ],
) -> None:
    """Make errands due now instead of at their next try. Errands in a process's hand are left alone."""
    from errands.operate import retry as retry_these
    from errands.operate import retry_at

    keys = [key for key in map(_key, targets) if key]
    names = [each for each in targets if not _key(each)]

    async def write() -> "list[Retried]":
        async with transaction() as connection:
            for name in names:
                await _check(connection, name)
            done = [await retry_at(connection, name) for name in names]
            return [*done, await retry_these(connection, keys)]

    done = run(write())
    made_due = sum(each.made_due for each in done)
    under_way = sum(each.under_way for each in done)
    due_before = sum(each.due_before for each in done)
    if keys and not made_due + under_way + due_before:
        fail("There is no such errand; what has ended has none. See: meterhall errands list")
    print(f"{made_due} made due; {due_before} were due, {under_way} are under way.")
    for name in sorted({name for each in done for name in each.paused}):
        print(f"{name} is paused: what waits there goes on after meterhall errands resume {name}")


@commands.command()
def pause(
    institution: Institution,
    note: Annotated[str, typer.Option(help="The reason; shown by `institutions`.")] = "",
) -> None:
    """Stop all processes from beginning calls to an institution, until it is resumed."""
    from errands.operate import pause as pause_it
    from errands.tables import LONGEST_NOTE
    from events.bounds import is_storable
    from services.billing.institutions import LEDGER
    from services.billing.outside.expire import PATIENCE_SECONDS, REASON

    if institution == LEDGER:
        fail("ledger cannot be paused: it is our own books, and makes no external calls.")
    if len(note) > LONGEST_NOTE or not is_storable(note):
        fail(f"--note must have at most {LONGEST_NOTE} printable characters.")

    async def write() -> "Pause":
        async with transaction() as connection:
            await _check(connection, institution)
            return await pause_it(connection, institution, note)

    pause = run(write())
    if not pause.is_new:
        print(
            f"{institution} is paused already, since {_time(pause.paused_at)}{_because(pause.note)}."
        )
        return
    minutes = round(PATIENCE_SECONDS / 60)
    print(
        f"{institution} is paused: within a second no process begins anything there; calls under\n"
        f"way finish. What needs it waits. But a payment or top-up that waits for {minutes} minutes,\n"
        f"and for which nothing was sent there, ends as {REASON}, and its payer's\n"
        f"money is let go; a bill's look-up is answered at once: the biller is away.\n"
        f"End the pause with: meterhall errands resume {institution}"
    )


@commands.command()
def resume(institution: Institution) -> None:
    """End a pause; errands that wait there go on within a second."""
    from errands.operate import resume as resume_it

    async def write() -> datetime | None:
        async with transaction() as connection:
            await _check(connection, institution)
            return await resume_it(connection, institution)

    paused_at = run(write())
    if paused_at is None:
        print(f"{institution} is not paused; nothing was changed.")
    else:
        print(f"{institution} goes on. It was paused since {_time(paused_at)}.")


async def _names(connection: AsyncConnection) -> set[str]:
    # All institutions: our own, the catalogue's billers that are called, and those with errands or a pause.
    from errands.listing import backlogs
    from services.billing.catalog.find import all_billers
    from services.billing.institutions import LEDGER, PSP, of_biller

    called = {
        of_biller(each.id) for each in await all_billers(connection) if each.settled_by == "call"
    }
    return {PSP, LEDGER} | called | {each.institution for each in await backlogs(connection)}


async def _check(connection: AsyncConnection, name: str) -> None:
    names = sorted(await _names(connection))
    if name in names:
        return
    near = get_close_matches(name, names, n=MOST_NAMES, cutoff=0.6)
    shown = (near + [each for each in names if each not in near])[:MOST_NAMES]
    more = ", … See: meterhall errands institutions --all" if len(names) > len(shown) else ""
    fail(f"There is no institution {name!r}. Known are: {', '.join(shown)}{more}")


def _kinds() -> list[str]:
    from services.billing.bills.record import KIND
    from services.billing.late import reports as late
    from services.billing.subject import Kind

    return [*Kind, KIND, *late.KINDS.values()]


def _kind(name: str) -> str:
    kind = name.replace("-", "_")
    if kind not in _kinds():
        fail(f"{name!r} is no kind of errand. The kinds are: {', '.join(_kinds())}")
    return kind


def _key(target: str) -> "Key | None":
    # An errand as KIND:ID; None when it is the name of an institution.
    kind, colon, id = target.partition(":")
    if not colon or kind.replace("-", "_") not in _kinds():
        return None
    try:
        return _kind(kind), UUID(id)
    except ValueError:
        fail(f"{id!r} is no id. Name an errand as `meterhall errands list` does: payment:0190…")


def _row(each: "Listed", now: datetime) -> tuple[object, ...]:
    where = each.institution
    if each.unknown_since:
        where += f", no answer for {span(_age(each.unknown_since, now))}"
    next_try = "under way" if each.under_way else span(-_age(each.due_at, now))
    return f"{each.kind}:{each.subject}\n{where}", each.leg, each.tries, next_try


def _paused(each: "Backlog") -> str:
    return f"\npaused since {_time(each.paused_at)}{_because(each.note)}" if each.paused_at else ""


def _because(note: str | None) -> str:
    return f": {note}" if note else ""


def _age(at: datetime, now: datetime) -> float:
    return (now - at).total_seconds()


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%m-%d %H:%M}"

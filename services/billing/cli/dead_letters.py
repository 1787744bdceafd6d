"""`meterhall dead-letters …`: records that a consumer could not use, and their replay after the cause is removed."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chassis.output import as_json, fail, table
from services.billing.cli.topics import asking_kafka

if TYPE_CHECKING:
    from messaging.control import DeadLetter

commands = typer.Typer(
    name="dead-letters", help="Records that a consumer could not use.", no_args_is_help=True
)

Topic = Annotated[str | None, typer.Option(help="Only those from this topic.")]
Group = Annotated[str | None, typer.Option(help="Only those of this consumer group.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason code.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]
Id = Annotated[str, typer.Argument(help="The id, or enough of its beginning.")]
Ids = Annotated[list[str] | None, typer.Argument(help="The ids, or enough of their beginnings.")]
# Enough to distinguish some million letters in a table of 80 columns.
SHORT_ID = 8


@commands.command("list")
def list_(
    topic: Topic = None, group: Group = None, reason: Reason = None, json: AsJson = False
) -> None:
    """List the dead letters of the last 30 days, their reasons, and which were replayed."""
    from messaging.control import read_dead_letters

    with asking_kafka() as bootstrap:
        letters = read_dead_letters(bootstrap, topic, group, reason)
    if json:
        as_json([_summary(letter) for letter in letters])
        return
    if not letters:
        print("No dead letters.")
    groups: dict[tuple[str, str], list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        groups[letter.topic, letter.group].append(letter)
    for (of, by), each in groups.items():
        columns = ("id", "when (UTC)", "at", "reason", "text", "replayed")
        table(f"{of}, refused by {by}", columns, (_row(letter) for letter in each))


@commands.command()
def show(
    id: Id,
    value: Annotated[
        bool,
        typer.Option(
            "--value", help="Print the content, too. It may hold what must not be copied."
        ),
    ] = False,
) -> None:
    """Show one dead letter with its headers."""
    from messaging.control import read_dead_letters

    with asking_kafka() as bootstrap:
        letter = _one(read_dead_letters(bootstrap), id)
    shown = _summary(letter) | {
        "key": _readable(letter.key),
        "headers": [[name, _readable(raw)] for name, raw in letter.headers],
        "value_bytes": None if letter.value is None else len(letter.value),
    }
    as_json(shown | ({"value": _readable(letter.value)} if value else {}))


@commands.command()
def replay(
    ids: Ids = None,
    topic: Topic = None,
    group: Group = None,
    reason: Reason = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
) -> None:
    """Send records back to the topic and partition that they came from: those named, or all that match the options."""
    from messaging.control import ReplayRefusedError, read_dead_letters, replay_dead_letters

    if not ids and not (topic or group or reason):
        fail("Name the ids, or which with --topic, --group or --reason.")
    with asking_kafka() as bootstrap:
        found = read_dead_letters(bootstrap, topic, group, reason)
        if ids:
            letters = [_one(found, id) for id in ids]
        else:
            # In bulk, letters that were replayed or cannot be are skipped; one named by its id is refused with the
            # reason.
            letters = [
                letter
                for letter in found
                if (again or not letter.replayed_at) and not letter.omitted
            ]
        try:
            places = replay_dead_letters(bootstrap, letters, again=again)
        except ReplayRefusedError as error:
            fail(str(error))
    for letter, place in zip(letters, places, strict=True):
        print(f"{letter.id[:SHORT_ID]} is at {place}")
    print(f"{len(places)} replayed.")


def _one(letters: "Sequence[DeadLetter]", id: str) -> "DeadLetter":
    found = [letter for letter in letters if letter.id.startswith(id)]
    if not found:
        fail(f"No dead letter begins with {id}; `meterhall dead-letters list` shows all.")
    if len(found) > 1:
        fail(f"{len(found)} dead letters begin with {id}: name more of it.")
    return found[0]


def _summary(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "id": letter.id,
        "topic": letter.topic,
        "group": letter.group,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "text": letter.text,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "written_at": letter.written_at.isoformat(),
        "omitted": list(letter.omitted),
        "replayed_at": list(letter.replayed_at),
    }


def _row(letter: "DeadLetter") -> tuple[object, ...]:
    return (
        letter.id[:SHORT_ID],
        f"{letter.written_at:%m-%d %H:%M}",
        f"{letter.partition}/{letter.offset}",
        letter.reason,
        letter.text[:60],
        f"{len(letter.replayed_at)}x" if letter.replayed_at else "",
    )


def _readable(raw: bytes | None) -> str | None:
    """Return bytes as text if they are text, else in hexadecimal."""
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"hex:{raw.hex()}"
    return text if text.isprintable() else f"hex:{raw.hex()}"

"""`meterhall topics` and `meterhall lag`: compare Kafka's topics with the contract, and show the consumers' lag."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from chassis.output import as_json, fail, table
from services.billing.cli.session import settings

if TYPE_CHECKING:
    from messaging.control import Drift, Lag

commands = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]


@commands.command()
def topics(
    check: Annotated[bool, typer.Option("--check", help="Only compare; create nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Create missing topics and compare all with the contract; exit 1 when one differs."""
    from events.topics import ALL_TOPICS
    from messaging.control import drifts, provision

    with asking_kafka() as bootstrap:
        if check:
            created, found = [], drifts(bootstrap)
        else:
            done = provision(bootstrap)
            created, found = list(done.created), list(done.drifts)
    if json:
        as_json({"created": created, "drifts": [_drift(each) for each in found]})
    else:
        for name in created:
            print(f"created {name}")
        if found:
            columns = ("topic", "what", "expected>", "actual>")
            table(
                "Not as the contract says", columns, (list(_drift(each).values()) for each in found)
            )
        else:
            print(f"All {len(ALL_TOPICS)} topics are as the contract says.")
    if found:
        fail(
            f"{len(found)} differences. What exists is never changed here: a partition count is for ever, and a"
            " topic's settings are for kafka-configs."
        )


@commands.command()
def lag(json: AsJson = False) -> None:
    """Show how many records each consumer group still has to handle, by topic."""
    from messaging.control import measure_lag

    with asking_kafka() as bootstrap:
        partitions: dict[tuple[str, str], list[Lag]] = defaultdict(list)
        for each in measure_lag(bootstrap):
            partitions[each.group, each.topic].append(each)
    rows = [
        {
            "group": group,
            "topic": topic,
            "partitions": len(each),
            "behind": sum(1 for at in each if at.records),
            "lag": sum(at.records for at in each),
        }
        for (group, topic), each in partitions.items()
    ]
    if json:
        as_json(rows)
    else:
        table(
            "Lag, in records",
            ("topic", "group", "behind>", "lag>"),
            (
                (row["topic"], row["group"], f"{row['behind']} of {row['partitions']}", row["lag"])
                for row in rows
            ),
        )


@contextmanager
def asking_kafka() -> Iterator[str]:
    """Yield Kafka's bootstrap address; without an answer there, print one line instead of a traceback."""
    from kafka.errors import KafkaError

    bootstrap = settings().kafka
    try:
        yield bootstrap
    except KafkaError as error:
        fail(
            f"Kafka at {bootstrap} does not do it: {type(error).__name__}. Check METERHALL_KAFKA and the broker."
        )


def _drift(drift: "Drift") -> dict[str, str]:
    return {
        "topic": drift.topic,
        "what": drift.what,
        "expected": drift.expected,
        "actual": drift.actual,
    }

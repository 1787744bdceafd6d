"""Topics: provisioning is idempotent, drift is reported and not repaired, lag is measured."""

import json
from dataclasses import replace

import pytest
import typer
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata, TopicPartition
from typer.testing import CliRunner

from events import topics as contract
from events.topics import ALL_TOPICS, Topic
from messaging.control import drifts, measure_lag, provision
from services.billing.cli import topics as cli
from services.billing.cli.session import settings
from tests.messaging.conftest import Lane
from tests.messaging.witness import produce


@pytest.fixture
def meterhall(kafka: str, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("METERHALL_DATABASE_URL", "postgresql+asyncpg://unused")
    monkeypatch.setenv("METERHALL_KAFKA", kafka)
    settings.cache_clear()
    return cli.commands


def test_provisioning_twice_changes_nothing(kafka: str, lane: Lane) -> None:
    new = replace(lane.topic, name=f"{lane.topic.name}.new")

    assert list(provision(kafka, [new, lane.topic]).created) == [new.name]
    again = provision(kafka, [new, lane.topic])
    assert (again.created, again.drifts) == ([], [])
    assert drifts(kafka, ALL_TOPICS) == []


def test_drift_is_reported_and_not_repaired(kafka: str, lane: Lane) -> None:
    set_retention(kafka, lane.topic, 1000)
    more = replace(lane.topic, partitions=4)
    missing = replace(lane.topic, name=f"{lane.topic.name}.missing")

    found = {(d.topic, d.what): (d.expected, d.actual) for d in drifts(kafka, [more, missing])}
    assert found == {
        (missing.name, "topic"): ("present", "missing"),
        (more.name, "partitions"): ("4", "3"),
        (more.name, "retention.ms"): (str(7 * 86_400_000), "1000"),
    }
    assert len(provision(kafka, [more]).drifts) == len(found) - 1
    assert drifts(kafka, [more]), "provisioning does not repair drift"


def test_lag_counts_what_a_group_has_not_committed(kafka: str, lane: Lane) -> None:
    produce(kafka, lane.topic.name, [{"value": b"x", "partition": n % 3} for n in range(9)])
    measure_lag(kafka)  # waits until a fresh broker has a coordinator for the group
    client = KafkaAdminClient(bootstrap_servers=kafka)
    client.alter_group_offsets(
        lane.group, {TopicPartition(lane.topic.name, 1): OffsetAndMetadata(2, "", -1)}
    )
    client.close()

    found = [each for each in measure_lag(kafka) if each.group == lane.group]
    assert [(each.partition, each.committed, each.records) for each in found] == [
        (0, None, 3),
        (1, 2, 1),
        (2, None, 3),
    ]


def test_the_command_line_agrees_with_the_contract(meterhall: typer.Typer) -> None:
    result = CliRunner().invoke(meterhall, ["topics", "--check"])
    assert result.exit_code == 0
    assert f"All {len(ALL_TOPICS)} topics" in result.output


def test_the_command_line_fails_on_drift(meterhall: typer.Typer, kafka: str) -> None:
    topic = ALL_TOPICS[-1]
    set_retention(kafka, topic, 2 * topic.retention_ms)
    try:
        for arguments in (["topics"], ["topics", "--check"]):
            result = CliRunner().invoke(meterhall, arguments)
            assert result.exit_code == 1
            assert "retention.ms" in result.output
        result = CliRunner().invoke(meterhall, ["topics", "--check", "--json"])
        assert result.exit_code == 1
    finally:
        set_retention(kafka, topic, topic.retention_ms)


def test_the_command_line_prints_the_lag(meterhall: typer.Typer, lane: Lane, kafka: str) -> None:
    produce(kafka, lane.topic.name, [{"value": b"x", "partition": 0} for _ in range(4)])

    rows = json.loads(CliRunner().invoke(meterhall, ["lag", "--json"]).output)
    assert {
        "group": lane.group,
        "topic": lane.topic.name,
        "partitions": 3,
        "behind": 1,
        "lag": 4,
    } in rows
    assert "Lag, in records" in CliRunner().invoke(meterhall, ["lag"]).output


def test_topic_codes_are_unique() -> None:
    every: list[Topic] = list(contract.ALL_TOPICS)
    assert len({topic.code for topic in every}) == len({t.name for t in every}) == len(every)


def set_retention(kafka: str, topic: Topic, milliseconds: int) -> None:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    configs = {"retention.ms": str(milliseconds)}
    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, configs)])
    client.close()

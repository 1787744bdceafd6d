"""The Mermaid drawings of the documentation agree with the code."""

import re
from pathlib import Path

import yaml

from events.topics import TOPICS
from services.billing.payments.tables import TRANSITIONS, State

ROOT = Path(__file__).parent.parent


def drawing(page: str) -> str:
    """Return the Mermaid source on this page of docs/architecture."""
    text = (ROOT / "docs/architecture" / page).read_text()
    [source] = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    return str(source)


def test_the_states_of_a_payment_are_those_of_the_code() -> None:
    drawn = re.findall(r"(\S+) --> (\S+)", drawing("payment.md"))
    changes = [(here, there) for here, there in drawn if "[*]" not in (here, there)]
    assert changes == [(here, there) for here, nexts in TRANSITIONS.items() for there in nexts]
    ends = {here for here, there in drawn if there == "[*]"}
    assert ends == {state for state in State if state not in TRANSITIONS}


def test_every_process_and_every_topic_is_drawn() -> None:
    drawn = drawing("README.md")
    topics = {topic.name for topic in TOPICS if not topic.name.endswith(".dlq")}
    assert set(re.findall(r"\[/(.+?)/\]", drawn)) == topics
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = {" ".join(each.get("command", [])) for each in services.values()}
    processes = {name for line in commands for name in re.findall(r"services\.\w+\.\w+", line)}
    assert len(processes) == 8
    assert set(re.findall(r"\[(services\.[\w.]+)\]", drawn)) == processes

"""docs/events.md agrees with the models about every topic and every message."""

import re

import pytest

from events import EVENT_TYPES
from events.documents import reference
from events.schema import PAGE
from events.topics import DEAD_LETTERS, TOPICS

TEXT = PAGE.read_text()
BY_HAND = re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", "", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_every_message_has_a_section_with_every_field(ce_type: str) -> None:
    model = EVENT_TYPES[ce_type]
    part = TEXT.split(f"#### {model.__name__}\n")[1].split("\n#### ")[0].split("\n### ")[0]
    assert all(f"| `{name}` |" in part for name in model.model_fields)


def test_every_topic_is_in_the_tables() -> None:
    for topic in TOPICS:
        assert re.search(rf"\| `{re.escape(topic.name)}` \| .* \| {topic.partitions} \|", TEXT)
    for (name, group), dead in DEAD_LETTERS.items():
        assert f"| `{dead.name}` | `{name}` | `{group}` |" in TEXT


def test_handwritten_text_names_exactly_the_existing_messages() -> None:
    names = {model.__name__ for model in EVENT_TYPES.values()}
    named = set(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", BY_HAND)) - {"CloudEvents", "ValueError"}
    assert named == names, "the page must describe when each message is sent"


def test_an_unknown_section_is_an_error() -> None:
    with pytest.raises(KeyError, match="gossip"):
        reference.fill_sections("<!-- gossip -->\n<!-- /gossip -->")

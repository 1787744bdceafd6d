"""README is short, and every command that it tells a user to type exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MOST_WORDS = 500


def test_it_is_read_in_two_minutes() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)", README))
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "up", "bench"} <= targets <= known

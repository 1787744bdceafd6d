"""All that the documents name exists: metrics, log events, settings, links, paths, and commands to type."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from services.billing.cli import main
from services.billing.settings import Settings as Billing
from services.notifications.settings import Settings as Notifications
from tests.support.pages import functions_of, named_functions
from tests.support.tidy_docs import (
    commands,
    dead_links,
    documents,
    make_targets,
    missing_paths,
    unknown_command,
)

ROOT = Path(__file__).parent.parent
OPERATING = (ROOT / "docs/operating.md").read_text()
PAGES = documents(ROOT)
# The changelog and the decisions name things as they were at the time.
DOCUMENTS = [
    path for path in PAGES if path.name != "CHANGELOG.md" and path.parent.name != "decisions"
]
PAYMENT = (ROOT / "docs/architecture/payment.md").read_text()
CODE = "\n".join(
    path.read_text()
    for room in ("chassis", "errands", "events", "messaging", "services", "sandbox", "migrations")
    for path in sorted((ROOT / room).rglob("*.py"))
)
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
METRICS = set(re.findall(r"\b(?:Counter|Gauge|Histogram)\(\s*\"(\w+)\"", CODE))
LOGGED = set(re.findall(r"\blog\.\w+\(\s*\"(\w+)\"", CODE))
MOST_WORDS = 500
# Settings that only notes on upgrades name.
GONE = {"METERHALL_RESUME_AFTER_SECONDS"}


def named(path: Path) -> str:
    """The id of a document's test: two folders may each have a README.md."""
    return path.relative_to(ROOT).as_posix()


def test_every_alarm_is_on_a_metric_or_log_event_that_exists() -> None:
    section = OPERATING.split("## Alarms\n")[1].split("\n## ")[0]
    watched = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")][1:]
    names = {name for cell in watched for name in words(cell)}
    assert len(names) > 15, "the table is read"
    assert names <= METRICS | LOGGED, names - METRICS - LOGGED


def test_every_metric_that_is_named_exists() -> None:
    """In the other documents, a name that ends or begins like a metric must be one."""
    named = {
        name
        for path in DOCUMENTS
        for name in words(path.read_text())
        if re.search(r"_total$|^errands?_|^outbox_\w+_|^breaker_|_places_taken$|^cases_", name)
    }
    assert {"errands_waiting", "errand_places_taken"} <= named
    assert named <= METRICS | LOGGED, named - METRICS - LOGGED


def test_every_setting_that_is_named_is_read() -> None:
    fields = {
        f"METERHALL_{field}".upper()
        for settings in (Billing, Notifications)
        for field in settings.model_fields
    }
    assert not fields & GONE
    for path in DOCUMENTS:
        named = set(re.findall(r"\bMETERHALL_[A-Z_]+[A-Z]\b", path.read_text())) - GONE - fields
        # The sandbox, one-off tools and tests read their variables by name.
        unknown = {each for each in named if f'"{each}"' not in CODE + TESTS}
        assert not unknown, (path.name, unknown)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    assert not dead_links(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_path_in_code_exists(path: Path) -> None:
    assert not missing_paths(path.read_text(), ROOT)


def test_readme_is_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


def test_every_make_target_exists() -> None:
    targets = make_targets((ROOT / "Makefile").read_text())
    calls = [
        (path.name, words) for path in DOCUMENTS for words in commands(path.read_text(), "make")
    ]
    assert calls, "the documents are read"
    # `make PYTHON=python3.12 up`: variables are no targets.
    unknown = [
        (page, word)
        for page, words in calls
        for word in words
        if "=" not in word
        if word not in targets
    ]
    assert not unknown


def test_every_command_of_the_command_line_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    meterhall = command_line(monkeypatch)
    calls = [
        (path.name, words)
        for path in DOCUMENTS
        for words in commands(path.read_text(), "meterhall")
    ]
    assert len(calls) > 10, "the documents are read"
    unknown = [(page, words) for page, words in calls if unknown_command(words, meterhall)]
    assert not unknown


def test_every_module_to_run_exists() -> None:
    named = {
        words[1]
        for path in DOCUMENTS
        for words in commands(path.read_text(), "python")
        if len(words) > 1 and words[0] == "-m" and "<" not in words[1]
    }
    assert not {module for module in named if find_spec(module) is None}


def test_every_function_that_the_walk_of_a_payment_names_exists() -> None:
    steps = named_functions(PAYMENT)
    assert len(steps) > 20, "the page is read"
    assert {file for file, _ in steps} == set(re.findall(r"`([\w/]+\.py)`", PAYMENT))
    gone = [
        (file, function)
        for file, function in steps
        if not (ROOT / file).exists() or function not in functions_of((ROOT / file).read_text())
    ]
    assert not gone


def test_functions_that_a_page_names_are_found() -> None:
    text = "It is kept (`a/b.py` `keep`, `Keeper.keep`,\n   `c.py` `gone`) and so on."
    assert named_functions(text) == [
        ("a/b.py", "keep"),
        ("a/b.py", "Keeper.keep"),
        ("c.py", "gone"),
    ]
    source = "class Keeper:\n    async def keep(self):\n        pass\ndef f():\n    def g(): pass"
    assert functions_of(source) == {"Keeper.keep", "f"}


def words(text: str) -> set[str]:
    """Return the names in `code` that are written like metrics and log events."""
    return {
        name
        for code in re.findall(r"`([^`\n]+)`", text)
        for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r"\"\w*\"|\w+=", "", code))
    }


def command_line(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All commands of `meterhall`, put together as the program does it."""
    started: list[typer.Typer] = []

    def start(app: typer.Typer) -> None:
        started.append(app)

    monkeypatch.setattr(typer.Typer, "__call__", start)
    main()
    return typer.main.get_command(started[0])

"""Every example in docs/examples, run in a shell of the running city: its output equals the recorded one.

METERHALL_RECORD_EXAMPLES=1 writes the outputs of this run into the files instead.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.home import Home
from sandbox.local_city import LocalCity
from tests.support.recorded import comparable, recorded_again, run, steps

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*-*.md"))
# Other tests of the shared city make payments that have no statement yet, so this example needs a city of its own.
ALONE = {"close-the-day"}


@pytest.fixture
def new_city(tmp_path: Path) -> Iterator[LocalCity]:
    """A city in which nothing has happened."""
    with Home(tmp_path) as home, LocalCity(home, seed=7, accounts_per_biller=40) as started:
        yield started


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_prints_its_recorded_output(
    request: pytest.FixtureRequest, example: Path
) -> None:
    city: LocalCity = request.getfixturevalue("new_city" if example.stem in ALONE else "city")
    page = example.read_text()
    commands = [command for command, _ in steps(page)]
    assert len(commands) == page.count("```sh\n"), "each command has a recorded output"
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    outputs = run(commands, {**city.environment, "PATH": path}, ROOT)
    if os.environ.get("METERHALL_RECORD_EXAMPLES"):
        example.write_text(recorded_again(page, outputs))
    else:
        recorded = [comparable(output) for _, output in steps(page)]
        assert [comparable(output) for output in outputs] == recorded


def test_each_example_is_in_the_index() -> None:
    index = (ROOT / "docs/examples/README.md").read_text()
    missing = [example.name for example in EXAMPLES if f"]({example.name})" not in index]
    assert not missing


def test_an_output_that_differs_from_the_recorded_one_is_found() -> None:
    page = '```sh\nshow status\n```\n```text\nstatus: "succeeded"\namount_minor: 4331\n```\n'
    [(command, recorded)] = steps(page)
    assert command == "show status\n"
    assert comparable(recorded) == comparable('status: "succeeded"\namount_minor: 88\n')
    assert comparable(recorded) != comparable('status: "failed"\namount_minor: 4331\n')
    assert 'status: "failed"' in recorded_again(page, ['status: "failed"\n'])

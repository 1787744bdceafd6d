"""The secrets of an installation in containers: made once, kept, and completed when a new one is needed."""

import re
from pathlib import Path

from sandbox import first_day


def test_secrets_are_made_once_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    assert first_day.make(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert not first_day.make(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    other = tmp_path / "other"
    other.mkdir()
    first_day.make(other)
    assert (other / "psp").read_text() != before["psp"], "every installation has its own"


def test_an_installation_from_before_commands_were_signed_gets_its_secret(tmp_path: Path) -> None:
    assert first_day.make(tmp_path)
    billing = tmp_path / "billing"
    whole = billing.read_text()
    before = "".join(
        line for line in whole.splitlines(True) if first_day.COMMAND_SECRET not in line
    )
    assert len(before) < len(whole)
    billing.write_text(before)
    assert first_day.make(tmp_path)
    after = billing.read_text()
    assert after.startswith(before)
    assert re.fullmatch(rf"{first_day.COMMAND_SECRET}='\S{{32,}}'\n", after.removeprefix(before))
    assert billing.stat().st_mode & 0o777 == 0o600
    assert not first_day.make(tmp_path)
    assert billing.read_text() == after, "a second run changes nothing"

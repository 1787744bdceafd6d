"""A city's folder keeps its secrets, and one from an earlier version gets those that are new."""

import json
from pathlib import Path

from sandbox.home import Home


def test_an_existing_home_gets_the_secrets_that_it_lacks(tmp_path: Path) -> None:
    before = dict(Home(tmp_path).secrets)
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({name: before[name] for name in before if name != "command"}))
    after = Home(tmp_path).secrets
    assert len(after["command"]) >= 32 and after["command"] != before["command"]
    assert {**after, "command": before["command"]} == before
    assert Home(tmp_path).secrets == after, "it is kept"
    assert json.loads(file.read_text()) == after
    assert file.stat().st_mode & 0o777 == 0o600

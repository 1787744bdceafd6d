"""What README tells a user to type, typed into a shell of the running city."""

import re
import subprocess
import sys
from pathlib import Path

from sandbox.local_city import LocalCity

ROOT = Path(__file__).parents[2]


def test_the_commands_of_the_readme_do_what_it_says(city: LocalCity) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = next(block for block in blocks if "/v1/lookups" in block)
    # The city of this test is not in the folder where `make up` keeps its own.
    script = re.sub(r"^eval .*$", "", script, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={
            **city.environment,
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert "Hangzhou" in said
    assert "\nsucceeded\n" in said
    assert f"{city.home.url('web')}/r/" in said


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text()))
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "up", "test", "lint", "bench"} <= targets <= known

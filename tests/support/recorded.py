"""Examples in Markdown: shell commands, each followed by the output that was recorded for it."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

STEP = re.compile(r"```sh\n(.*?)```\n```text\n(.*?)```\n", re.DOTALL)
# Values that differ from run to run, and the names that replace them when outputs are compared.
VARIABLE = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
    (re.compile(r"\b\d{8}(-[0-9A-Z]{4}){4}\b|\b\d{8}[0-9A-Z]{16}\b"), "<receipt>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<city>"),
    (re.compile(r"\S*(/outgoing/|/data/)\S*"), "<file>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"\d\d-\d\d \d\d:\d\d(:\d\d)?"), "<time>"),
    (re.compile(r"[\d,.]*\d"), "<n>"),
    (re.compile(r"[━─┏┓┗┛┳┻╇┡┩└┘┴┬├┤┼ ]+"), " "),
]


def steps(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page in order, each with its recorded output."""
    return STEP.findall(page)


def run(commands: list[str], environment: Mapping[str, str], folder: Path) -> list[str]:
    """Run these commands one after the other in one shell and return the output of each.

    Raise AssertionError with the whole output if the shell stops before the end of the last command.
    """
    mark = "-- end of a step --"
    script = "".join(f"{command}\necho '{mark}'\n" for command in commands)
    shell = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=180,
    )
    outputs = shell.stdout.split(f"{mark}\n")
    assert len(outputs) == len(commands) + 1, shell.stdout
    return outputs[:-1]


def comparable(output: str) -> str:
    """Return the output with names in place of values that differ from run to run."""
    for pattern, name in VARIABLE:
        output = pattern.sub(name, output)
    return "\n".join(line.strip() for line in output.splitlines() if line.strip())


def recorded_again(page: str, outputs: list[str]) -> str:
    """Return the page with these outputs in place of the recorded ones."""
    remaining = iter(outputs)

    def replaced(found: re.Match[str]) -> str:
        lines = "".join(f"{line.rstrip()}\n" for line in next(remaining).splitlines())
        return f"```sh\n{found[1]}```\n```text\n{lines}```\n"

    return STEP.sub(replaced, page)

"""The command line as an operator runs it: a separate process with settings in the environment."""

import asyncio
import os
import sys
from dataclasses import dataclass

from tests.support.databases import Database


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


async def meterhall(database: Database, *arguments: str, **settings: str) -> CommandResult:
    """Run `meterhall ARGUMENTS` on this database; `settings` are further METERHALL_ variables."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("METERHALL_")
    }
    environment["METERHALL_DATABASE_URL"] = database.billing_url
    environment |= {f"METERHALL_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.billing.cli",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return CommandResult(process.returncode, out.decode(), err.decode())

"""The secrets of a city under Docker, made once: `python -m sandbox.first_day /secrets`.

One file for each who needs one, as NAME='value' lines that a shell reads: the repository holds no secret, and every
installation has its own. A second run changes nothing.
"""

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox.billers.biller_list import BILLERS

DATABASE = "meterhall"
OWNER = "meterhall_owner"
BILLERS_FILE = "billers.json"
POSTGRES_FILE = "postgres-password"
COMMAND_SECRET = "METERHALL_COMMAND_SECRET"  # noqa: S105 - a variable's name


def make(folder: Path) -> bool:
    """Write what is missing; whether anything was."""
    if (folder / "complete").exists():
        return _add_command_secret(folder / "billing")
    passwords = {role: secrets.token_urlsafe(24) for role in ("owner", "billing", "notifications")}
    psp = {
        "METERHALL_PSP_API_KEY": f"sk_test_{secrets.token_hex(24)}",
        "METERHALL_PSP_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(24)}",
    }
    billing = {"METERHALL_DATABASE_URL": _url("billing_app", passwords["billing"])}
    commands = {COMMAND_SECRET: secrets.token_urlsafe(32)}
    notifications = {
        "METERHALL_NOTIFICATIONS_DATABASE_URL": _url(
            "notifications_app", passwords["notifications"]
        )
    }
    owner = {"METERHALL_OWNER_DATABASE_URL": _url(OWNER, passwords["owner"])}
    _write(folder / "billing", _lines(billing | psp | commands))
    _write(folder / "notifications", _lines(notifications))
    _write(folder / "psp", _lines(psp))
    # Migrations make the roles of both services.
    _write(folder / "migrate", _lines(billing | notifications | owner))
    _write(folder / POSTGRES_FILE, passwords["owner"])
    billers = {each.id: secrets.token_hex(16) for each in BILLERS}
    _write(folder / BILLERS_FILE, json.dumps(billers, indent=2))
    # Written last: a run that dies before it starts again from the beginning.
    _write(folder / "complete", "")
    return True


def _add_command_secret(file: Path) -> bool:
    """Give an installation from before commands were signed its secret; whether it had none."""
    before = file.read_text()
    if COMMAND_SECRET in before:
        return False
    partial = file.with_suffix(".partial")
    _write(partial, before + _lines({COMMAND_SECRET: secrets.token_urlsafe(32)}))
    partial.rename(file)
    return True


def _url(role: str, password: str) -> str:
    return f"postgresql+asyncpg://{role}:{password}@postgres:5432/{DATABASE}"


def _lines(values: Mapping[str, str]) -> str:
    # Nothing in them needs escaping: token_urlsafe and token_hex make letters, digits, - and _.
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    print("secrets made" if make(Path(sys.argv[1])) else "secrets are there")

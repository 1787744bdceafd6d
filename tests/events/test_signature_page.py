"""The Python and Go examples of docs/events.md sign as events/signature.py does."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from events.payments import PayBill
from events.schema import PAGE
from events.signature import SigningKey, parse
from events.topics import PAYMENT_COMMANDS

TEXT = PAGE.read_text()
SECTION = TEXT.split("## Signing commands\n")[1].split("\n## ")[0]
KEY = "mhs_0123abcd_bm90LWEtcmVhbC1rZXktYnV0LWFuLWV4YW1wbGUtdG8tdHJ5"
CE_ID = "019a3f52-7a11-7d80-8f24-5b1e9c0a6d33"
COMMAND = PayBill.model_validate(
    {
        "payment_id": "019a3f52-7a10-7c3e-9b51-0d6f2c4e8a77",
        "channel": "demo-wallet",
        "payer": "user-1",
        "bill_id": "019a3f50-1c2d-7e4f-a567-89abcdef0123",
        "amount_minor": 8850,
        "currency": "CNY",
        "funding": {"kind": "wallet"},
    }
)


def block(language: str) -> str:
    """Return the only block of code in this language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(code)


@pytest.fixture
def expected() -> str:
    """Return our own code's signature of the record on the page."""
    value = json.dumps(COMMAND.model_dump(mode="json"), separators=(",", ":")).encode()
    return SigningKey(KEY).sign(PAYMENT_COMMANDS.name, COMMAND.key, CE_ID, PayBill.ce_type(), value)


def test_the_page_shows_the_signature_of_our_own_code(expected: str) -> None:
    assert f"\n```\n{expected}\n```\n" in SECTION
    assert parse(expected.encode())[0] == "0123abcd"
    for part in (KEY, PAYMENT_COMMANDS.name, COMMAND.key, CE_ID, PayBill.ce_type()):
        assert all(f'"{part}"' in block(language) for language in ("python", "go"))


def test_the_python_of_the_page_signs_as_we_do(expected: str, tmp_path: Path) -> None:
    script = tmp_path / "sign.py"
    script.write_text(block("python"))
    # Isolated, so that it can use only the standard library.
    done = subprocess.run(
        [sys.executable, "-I", "-S", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_the_go_of_the_page_signs_as_we_do(expected: str, tmp_path: Path) -> None:
    script = tmp_path / "sign.go"
    script.write_text(block("go"))
    go = Path(sysconfig.get_path("scripts")) / "go"
    # Nothing is downloaded, so it can use only the standard library.
    environment = {
        **os.environ,
        "GOCACHE": str(tmp_path / "build"),
        "GOPATH": str(tmp_path / "go"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        [go, "run", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected

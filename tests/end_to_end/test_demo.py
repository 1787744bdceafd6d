"""`make demo`, smaller: the command itself, from a fresh city to the printed result."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_books_that_agree(tmp_path: Path) -> None:
    command = ["demo", "--payments", "150", "--home", str(tmp_path / "demo")]
    done = subprocess.run(
        [sys.executable, "-m", "services.billing.cli", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert "All books agree" in said
    receipts = re.search(r"Receipts: (\d+) for (\d+) payments", said)
    assert receipts
    assert receipts[1] == receipts[2] != "0"
    assert all(len(line) <= 80 for line in said.splitlines() if line.startswith(("│", "┃")))

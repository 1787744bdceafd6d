"""The command behind `make demo`, with fewer payments: from a fresh city to the printed result."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_books_that_agree(tmp_path: Path) -> None:
    command = ["demo", "--payments", "150", "--home", str(tmp_path / "demo")]
    demo = subprocess.run(
        [sys.executable, "-m", "services.billing.cli", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    printed = demo.stdout
    assert demo.returncode == 0, printed + demo.stderr
    assert "All books agree" in printed
    receipts = re.search(r"Receipts: (\d+) for (\d+) payments", printed)
    assert receipts
    assert receipts[1] == receipts[2] != "0"
    assert all(len(line) <= 80 for line in printed.splitlines() if line.startswith(("│", "┃")))

"""The smallest possible soak, from its start to its checks: twelve seconds of load."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest


@pytest.mark.alone
async def test_a_small_soak_measures_and_passes_its_checks(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    options = "--minutes 0.2 --transfers 20000 --rate 250 --every 5 --warm-up 0"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.soak", *options.split(), "--output", str(output)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Files that it leaves behind would be found here.
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()[-4_000:]
    found = json.loads(output.read_text())
    assert found["status"] == "finished"
    assert found["integrity"]["complaints"] == []
    assert found["integrity"]["payments_sent"] == 3_000
    assert found["integrity"]["payments_succeeded"] == 8_000
    assert found["integrity"]["events_in_kafka"] == 6_000
    row = found["checkpoints"][-1]
    assert row["payments"] > 0
    assert row["sampled"] > 0
    assert row["p99_ms"] > 0
    assert row["wal_bytes"] > 1_000
    dropped = [each for each in found["rotation"] if each["what"] == "dropped"]
    assert len(dropped) == 3  # by the shipped timer, while payments came in
    assert [each.name for each in tmp_path.iterdir()] == ["soak.json"]

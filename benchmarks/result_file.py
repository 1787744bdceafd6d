"""The result of a run as a JSON file: lines, machine, versions, sizes and durability settings."""

import json
import os
import platform
import sysconfig
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.machine.stage import Stage
from benchmarks.samples import MeasuredLine
from sandbox.local.kafka import jars

LATEST = Path(__file__).parent / "results" / "latest.json"
PARTS = ("asyncpg", "aiokafka", "faststream", "sqlalchemy", "pydantic", "kafka-python", "uvloop")


def as_json(
    lines: Sequence[MeasuredLine], stage: Stage, durability: Mapping[str, str]
) -> dict[str, Any]:
    """Return the content of the file."""
    ceiling = next((line for line in lines if line.id == "ceiling"), None)
    summaries = [line.summary(ceiling) for line in lines if line.samples]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            # Built with profile-guided optimization, Python takes about a tenth less time.
            "python_optimized": "--enable-optimizations"
            in str(sysconfig.get_config_var("CONFIG_ARGS")),
            "postgresql": durability["server_version"],
            "kafka": jars().name.removeprefix("kafka-"),
            **{name: version(name) for name in PARTS},
        },
        "durability": {
            name: value for name, value in durability.items() if name != "server_version"
        },
        "sizes": {name: getattr(stage.plan, name) for name in stage.plan.__slots__},
        "lines": summaries,
    }


def write(result: Mapping[str, Any], path: Path = LATEST) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def read(path: Path = LATEST) -> dict[str, Any]:
    """Read the file."""
    result: dict[str, Any] = json.loads(path.read_text())
    return result


async def durability(stage: Stage) -> dict[str, str]:
    """Return the settings of PostgreSQL and Kafka that decide whether a committed write survives a crash."""
    names = (
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_level",
        "shared_buffers",
        "min_wal_size",
        "max_wal_size",
    )
    settings = {name: str(await stage.superuser(f"SHOW {name}")) for name in names}
    return {**settings, "kafka_acks": "all", "kafka_replicas": "1"}


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.system(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

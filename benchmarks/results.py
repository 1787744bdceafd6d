"""What was measured: samples become lines with a median and a range, and lines become a JSON file and tables."""

import json
import os
import platform
import statistics
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.stage import Stage
from sandbox.local.kafka import jars

LATEST = Path(__file__).parent / "results" / "latest.json"
PARTS = ("asyncpg", "aiokafka", "faststream", "sqlalchemy", "pydantic", "kafka-python", "uvloop")


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `facts` are further numbers of it, `complaints` what its integrity check found."""

    value: float
    unit: str
    facts: Mapping[str, float] = field(default_factory=dict)
    complaints: Sequence[str] = ()

    def but(self, complaints: Sequence[str]) -> "Sample":
        """The same, with these complaints as well."""
        return replace(self, complaints=[*self.complaints, *complaints])


@dataclass(slots=True)
class Line:
    """Every sample of one line, by repeat."""

    id: str
    samples: dict[int, Sample] = field(default_factory=dict)

    def values(self) -> list[float]:
        return [each.value for each in self.samples.values()]

    def summary(self, ceiling: "Line | None") -> dict[str, Any]:
        """As it stands in the JSON file. `of_ceiling` is the median of the repeats' own ratios."""
        samples = list(self.samples.values())
        unit = samples[0].unit
        ratios = [
            sample.value / ceiling.samples[repeat].value
            for repeat, sample in self.samples.items()
            if ceiling and repeat in ceiling.samples and unit == "payments/s"
        ]
        names = {name: None for sample in samples for name in sample.facts}
        found = {
            "id": self.id,
            "unit": unit,
            "median": statistics.median(self.values()),
            "min": min(self.values()),
            "max": max(self.values()),
            "of_ceiling": statistics.median(ratios) if ratios else None,
            "repeats": len(samples),
            "integrity": not any(sample.complaints for sample in samples),
            **{
                name: statistics.median(s.facts[name] for s in samples if name in s.facts)
                for name in names
            },
        }
        return {name: rounded(value) for name, value in found.items()}


def as_json(lines: Sequence[Line], stage: Stage, durability: Mapping[str, str]) -> dict[str, Any]:
    """The whole file."""
    ceiling = next((line for line in lines if line.id == "ceiling"), None)
    summaries = [line.summary(ceiling) for line in lines if line.samples]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            # Built with profile-guided optimization, Python takes about a tenth less of the time.
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
    found: dict[str, Any] = json.loads(path.read_text())
    return found


async def durability(stage: Stage) -> dict[str, str]:
    """The server's own word on what a commit means, and the broker's settings."""
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
    said = {name: str(await stage.superuser(f"SHOW {name}")) for name in names}
    return {**said, "kafka_acks": "all", "kafka_replicas": "1"}


def rounded(value: Any) -> Any:
    """Every float to four digits: more would claim to know what the noise denies."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return value


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

"""The result of a soak: one JSON file, rewritten at every checkpoint, so that an interrupted run leaves its figures."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import result_file, samples
from benchmarks.machine.stage import Stage
from benchmarks.soak.checkpoints.slopes import slopes

LATEST = result_file.LATEST.with_name("soak.json")
# Throughput may fall by no more than this from the end of the warm-up to the end.
MOST_LOSS_PER_CENT = 5.0
SLOPES = ("payments_per_second", "cpu_us", "wal_bytes", "wal_full_pages", "p50_ms", "p99_ms")
SLOPE_PREFIXES = ("cpu_us_", "memory_mb_")

Log = Callable[[str], None]


@dataclass(slots=True)
class SoakResult:
    """The result so far. The slopes are taken from the end of the warm-up to `seconds`."""

    path: Path
    seconds: float
    warm_up_seconds: float
    head: dict[str, Any] = field(default_factory=dict)
    past: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rotation: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, float]] = field(default_factory=list)
    warnings: dict[str, dict[str, int]] = field(default_factory=dict)
    at_rest_seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    integrity: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    status: str = "building the past"

    async def open(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        """Describe machine, versions and sizes."""
        described = result_file.as_json([], stage, await result_file.durability(stage))
        self.head = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: described[name] for name in ("machine", "versions", "durability")},
            "sizes": dict(sizes),
        }

    def fail(self, status: str, complaint: str) -> None:
        """Record that the run failed, and the reason."""
        self.status = status
        self.complaints.append(complaint)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        measured = slopes(self.rows, self._names(), self.seconds, self.warm_up_seconds)
        rate = measured.get("payments_per_second")
        result: dict[str, Any] = samples.rounded(
            {
                **self.head,
                "status": self.status,
                "past": self.past,
                "target": {
                    "most_loss_per_cent": MOST_LOSS_PER_CENT,
                    "throughput_per_cent": rate and rate["per_cent"],
                    "met": rate and rate["per_cent"] >= -MOST_LOSS_PER_CENT,
                },
                "warm_up_seconds": self.warm_up_seconds,
                "slopes": measured,
                "rotation": [{**event, **self._latency_at(event)} for event in self.rotation],
                "audits": self.audits,
                "warnings": self.warnings,
                "at_rest_seconds": self.at_rest_seconds,
                "notes": self.notes,
                "integrity": {**self.integrity, "complaints": self.complaints},
                "checkpoints": self.rows,
            }
        )
        return result

    def write(self) -> None:
        """Replace the file in one step: a reader never sees half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        partial.replace(self.path)

    def _names(self) -> list[str]:
        names = {name: None for row in self.rows for name in row}
        return [*SLOPES, *(name for name in names if name.startswith(SLOPE_PREFIXES))]

    def _latency_at(self, event: Mapping[str, Any]) -> dict[str, Any]:
        # The latency of the checkpoint interval in which the event happened.
        for row in self.rows:
            if row["at_seconds"] - row["seconds"] <= event["at_seconds"] < row["at_seconds"]:
                return {"p99_ms": row["p99_ms"]}
        return {}

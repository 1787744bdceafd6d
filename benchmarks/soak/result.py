"""The result of a soak: one JSON file, written anew at every checkpoint, so that a run that is cut short leaves what it
measured.
"""

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

Say = Callable[[str], None]


@dataclass(slots=True)
class SoakResult:
    """What is known so far. `seconds` and `warm_up_seconds` are what the slopes are taken over."""

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
    status: str = "making the past"

    async def open(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        """What was measured, and where."""
        described = result_file.as_json([], stage, await result_file.durability(stage))
        self.head = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: described[name] for name in ("machine", "versions", "durability")},
            "sizes": dict(sizes),
        }

    def fail(self, status: str, complaint: str) -> None:
        """It did not go as it should have."""
        self.status = status
        self.complaints.append(complaint)

    def as_json(self) -> dict[str, Any]:
        """The whole file."""
        measured = slopes(self.rows, self._names(), self.seconds, self.warm_up_seconds)
        rate = measured.get("payments_per_second")
        found: dict[str, Any] = samples.rounded(
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
                "rotation": [{**each, **self._minute(each)} for each in self.rotation],
                "audits": self.audits,
                "warnings": self.warnings,
                "at_rest_seconds": self.at_rest_seconds,
                "notes": self.notes,
                "integrity": {**self.integrity, "complaints": self.complaints},
                "checkpoints": self.rows,
            }
        )
        return found

    def write(self) -> None:
        """Write the file, or nothing: a reader never sees half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        partial.replace(self.path)

    def _names(self) -> list[str]:
        found = {name: None for row in self.rows for name in row}
        return [*SLOPES, *(name for name in found if name.startswith(SLOPE_PREFIXES))]

    def _minute(self, event: Mapping[str, Any]) -> dict[str, Any]:
        # The latency of the time in which it happened.
        for row in self.rows:
            if row["at_seconds"] - row["seconds"] <= event["at_seconds"] < row["at_seconds"]:
                return {"p99_ms": row["p99_ms"]}
        return {}

"""The state that the parts of one soak share."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine.stage import Stage
from benchmarks.measured_city import MeasuredCity
from benchmarks.soak.result import Log, SoakResult
from benchmarks.soak.sizes import Size


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The seconds between checkpoints, and the seconds at which days past retention are planted."""

    checkpoint_seconds: float = 60.0
    plant_first_seconds: float = 300.0
    plant_every_seconds: float = 600.0


@dataclass(slots=True)
class Scene:
    """One soak in progress. `began` is the time of the first command, in seconds since the epoch; 0 before it."""

    stage: Stage
    city: MeasuredCity
    size: Size
    rhythm: Rhythm
    result: SoakResult
    log: Log
    began: float = 0.0

    @property
    def diary(self) -> Path:
        """The file in which the sender records its progress."""
        return self.stage.folder / "sender.jsonl"

    def at(self) -> float:
        """Return the time of the run: seconds since the first command; 0 before it."""
        return time.time() - self.began if self.began else 0.0

    def note(self, text: str) -> None:
        """Record an error that the run survived."""
        self.result.notes.append(f"after {self.at():.0f} s: {text}")
        self.log(text)

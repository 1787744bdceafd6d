"""What the parts of one soak share."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine.stage import Stage
from benchmarks.measured_city import MeasuredCity
from benchmarks.soak.result import Say, SoakResult
from benchmarks.soak.sizes import Size


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a checkpoint is taken, and when a day past retention is planted: seconds."""

    checkpoint_seconds: float = 60.0
    plant_first_seconds: float = 300.0
    plant_every_seconds: float = 600.0


@dataclass(slots=True)
class Scene:
    """`began` is the moment of the first command, in seconds since the epoch; 0 before."""

    stage: Stage
    city: MeasuredCity
    size: Size
    rhythm: Rhythm
    result: SoakResult
    say: Say
    began: float = 0.0

    @property
    def diary(self) -> Path:
        """Where the sender writes how far it is."""
        return self.stage.folder / "sender.jsonl"

    def at(self) -> float:
        """The clock of the run: seconds since the first command."""
        return time.time() - self.began if self.began else 0.0

    def note(self, text: str) -> None:
        """Something that should not have been, and that the run survived."""
        self.result.notes.append(f"after {self.at():.0f} s: {text}")
        self.say(text)

"""The state that the measurements of one repeat share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.benchmark_plan import BenchmarkPlan
from benchmarks.machine.stage import Stage


@dataclass(slots=True)
class Repeat:
    """The stage, the plan, and the drain's output, which the ceiling and the paced load need.

    `rows` is the folder of the rows that the drain wrote, in COPY's binary format; `drained` its payments per second.
    """

    stage: Stage
    plan: BenchmarkPlan
    rows: Path
    advance: Callable[[str, int, int], None]
    drained: float = 0.0

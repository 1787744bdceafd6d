"""What one repeat hands from measurement to measurement."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.benchmark_plan import BenchmarkPlan
from benchmarks.machine.stage import Stage


@dataclass(slots=True)
class Repeat:
    """The stage, the plan, and what the drain of this repeat left for the ceiling and the pace.

    `rows` is where the drain puts the rows that it wrote, as COPY has them; `drained` its payments per second.
    """

    stage: Stage
    plan: BenchmarkPlan
    rows: Path
    advance: Callable[[str, int, int], None]
    drained: float = 0.0

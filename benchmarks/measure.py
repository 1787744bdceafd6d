"""The measurements in their order, repeat by repeat."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from benchmarks.lines import (
    ceiling,
    consumer,
    door,
    drain,
    lookup,
    paced,
    posting,
    psp,
    relay,
    transfers,
)
from benchmarks.machine.stage import Stage
from benchmarks.repeat import Repeat
from benchmarks.samples import MeasuredLine, Sample
from chassis.process import run_process
from sandbox.progress import Steps

# Not on the path of a payment, or slow: these are repeated less often.
SIDE = ("consumer", "door", "lookup", "psp")
# The ceiling and the pace follow the drain, whose rows and rate they need.
MEASUREMENTS: dict[str, Callable[[Repeat], Coroutine[Any, Any, dict[str, Sample]]]] = {
    "drain": drain.measure,
    "ceiling": ceiling.measure,
    "posting": posting.measure,
    "transfers": transfers.measure,
    "paced": paced.measure,
    "relay": relay.measure,
    "consumer": consumer.measure,
    "door": door.measure,
    "lookup": lookup.measure,
    "psp": psp.measure,
}


def measure(stage: Stage, chosen: Sequence[str], repeats: int, steps: Steps) -> list[MeasuredLine]:
    """Run each chosen measurement in each repeat; return the lines in the order in which they are shown."""
    lines: dict[str, MeasuredLine] = {}
    sides = min(repeats, stage.plan.side_repeats)
    planned = [
        (repeat, name)
        for repeat in range(repeats)
        for name in MEASUREMENTS
        if name in chosen and (repeat < sides or name not in SIDE)
    ]
    run = Repeat(stage, stage.plan, stage.folder / "rows", steps.advance)
    for done, (repeat, name) in enumerate(planned, 1):
        steps.tell(f"repeat {repeat + 1} of {repeats}: {name}")
        for id, sample in run_process(MEASUREMENTS[name](run)).items():
            lines.setdefault(id, MeasuredLine(id)).samples[repeat] = sample
            steps.tell(f"  {id}: {sample.value:,.0f} {sample.unit}")
        steps.advance("measurements", done, len(planned))
    return list(lines.values())

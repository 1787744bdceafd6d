"""`python -m benchmarks [--quick] [--only drain,ceiling]` measures; `python -m benchmarks table` prints a result.

Every repeat takes each measurement once, so that a machine that slows down slows all of them down alike.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import benchmark_report, result_file
from benchmarks.benchmark_plan import FULL, QUICK
from benchmarks.machine.stage import Stage
from benchmarks.measure import MEASUREMENTS, measure
from sandbox.progress import Steps

commands = typer.Typer(add_completion=False, help=__doc__)


@commands.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option(help="small sizes, one repeat: under three minutes")
    ] = False,
    only: Annotated[str, typer.Option(help=f"some of {', '.join(MEASUREMENTS)}")] = "",
    repeats: Annotated[int, typer.Option(help="0: as many as planned", min=0)] = 0,
    output: Annotated[Path, typer.Option(help="file for the JSON")] = result_file.LATEST,
) -> None:
    """Measure everything on a PostgreSQL and a Kafka of its own."""
    if context.invoked_subcommand:
        return
    if not sys.platform.startswith("linux"):
        raise typer.BadParameter("costs are read from /proc: run the benchmarks on Linux")
    plan = QUICK if quick else FULL
    chosen = _chosen(only)
    folder = Path(tempfile.mkdtemp(prefix="meterhall-benchmarks-"))
    try:
        with Steps() as steps, Stage(folder, plan, steps.tell) as stage:
            lines = measure(stage, chosen, repeats or plan.repeats, steps)
            durability = asyncio.run(result_file.durability(stage))
            result = result_file.as_json(lines, stage, durability)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result_file.write(result, output)
    benchmark_report.show(result)
    print(f"JSON: {output}")
    if not all(line["integrity"] for line in result["lines"]):
        for line in lines:
            for sample in line.samples.values():
                print(
                    *(f"{line.id}: {each}" for each in sample.complaints), sep="\n", file=sys.stderr
                )
        raise typer.Exit(1)


def _chosen(only: str) -> list[str]:
    chosen = only.split(",") if only else list(MEASUREMENTS)
    if unknown := set(chosen) - MEASUREMENTS.keys():
        raise typer.BadParameter(
            f"no such measurement: {', '.join(sorted(unknown))}; choose of {', '.join(MEASUREMENTS)}"
        )
    if "paced" in chosen and "drain" not in chosen:
        raise typer.BadParameter(
            "paced runs at shares of drain's rate, so measure both: --only drain,paced"
        )
    return chosen


@commands.command()
def table(
    file: Annotated[Path, typer.Argument(help="a result")] = result_file.LATEST,
) -> None:
    """Print a result as Markdown."""
    print(benchmark_report.markdown(result_file.read(file)))


if __name__ == "__main__":
    commands()

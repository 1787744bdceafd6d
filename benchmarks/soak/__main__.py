"""`python -m benchmarks.soak`: half of the drain's rate, for half an hour, on a ledger of twenty million transfers.

Prints a line at each checkpoint and rewrites the JSON; exits with 1 when a check fails.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import result_file
from benchmarks.benchmark_plan import QUICK
from benchmarks.machine.stage import Stage
from benchmarks.soak import soak_report
from benchmarks.soak.checkpoints.soak_topics import PROPERTIES
from benchmarks.soak.half_hour import soak
from benchmarks.soak.result import LATEST, SoakResult
from benchmarks.soak.scene import Rhythm
from benchmarks.soak.sizes import DiskError, Size, check_disk

commands = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_BEGAN = time.monotonic()


@commands.command()
def main(  # noqa: PLR0917 - the command line names them
    minutes: Annotated[float, typer.Option(help="how long the load lasts")] = 30.0,
    transfers: Annotated[int, typer.Option(help="in the ledger at start", min=1000)] = 20_000_000,
    rate: Annotated[float, typer.Option(help="payments/s; 0: half of drain's rate")] = 0.0,
    every: Annotated[float, typer.Option(help="seconds between checkpoints", min=5)] = 60.0,
    warm_up: Annotated[float, typer.Option(help="seconds that slopes leave out", min=0)] = 120.0,
    plant_first: Annotated[float, typer.Option(help="second of the first planted day")] = 300.0,
    shared_buffers: Annotated[int, typer.Option(help="PostgreSQL's, MB", min=128)] = 4096,
    max_wal: Annotated[int, typer.Option(help="PostgreSQL's max_wal_size, MB", min=256)] = 12288,
    output: Annotated[Path, typer.Option(help="file for the JSON")] = LATEST,
) -> None:
    """Run a soak on a PostgreSQL and a Kafka of its own; both and their folder are deleted afterwards."""
    if not sys.platform.startswith("linux"):
        raise typer.BadParameter("costs are read from /proc: run the soak on Linux")
    # Shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    size = Size(transfers, rate or _half_of_drain(), minutes * 60, max_wal << 20)
    result = SoakResult(output, size.seconds, warm_up)
    folder = Path(tempfile.mkdtemp(prefix="meterhall-soak-"))
    try:
        check_disk(size, shutil.disk_usage(folder).free)
        log(f"{size.rate:,.0f} payments/s for {minutes:g} minutes, on {transfers:,} transfers")
        stage = Stage(folder, replace(QUICK, payments=1, history=0), log)
        # Sized for this ledger (docs/scaling.md); as durable as anywhere.
        stage.postgres.settings = {
            "shared_buffers": f"{shared_buffers}MB",
            "max_wal_size": f"{max_wal}MB",
        }
        stage.kafka.more_properties = PROPERTIES
        with stage:
            asyncio.run(_run(stage, size, Rhythm(every, plant_first), result))
    except DiskError as error:
        raise typer.BadParameter(str(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result.complaints:
        raise typer.Exit(1)


async def _run(stage: Stage, size: Size, rhythm: Rhythm, result: SoakResult) -> None:
    await result.open(stage, {**size.as_json(), "disk_bytes": size.disk()})
    try:
        await soak(stage, size, rhythm, result, log)
    finally:
        log(f"{result.status}; JSON: {result.path}")
        if result.rows:
            soak_report.show(result.as_json())


def log(text: str) -> None:
    """Print a line with the time since the start, unbuffered, so that a followed file shows it immediately."""
    print(f"[{time.monotonic() - _BEGAN:6.0f} s] {text}", flush=True)


def _half_of_drain() -> float:
    try:
        lines = result_file.read()["lines"]
        return float(next(line["median"] for line in lines if line["id"] == "drain")) / 2
    except (OSError, StopIteration) as error:
        raise typer.BadParameter(
            "drain has not been measured yet: run `make bench`, or give a --rate"
        ) from error


if __name__ == "__main__":
    commands()

"""One soak: build the past, run the shipped processes under an even load with a checkpoint a minute, check the books.

The result is written at each step, and also when a step fails.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from benchmarks.machine.stage import Stage
from benchmarks.measured_city import Connection
from benchmarks.soak.checkpoints import soak_topics
from benchmarks.soak.load import SoakLoad
from benchmarks.soak.past.days import Days
from benchmarks.soak.past.make_past import make_past, seal_past
from benchmarks.soak.proof import prove
from benchmarks.soak.result import Log, SoakResult
from benchmarks.soak.scene import Rhythm, Scene
from benchmarks.soak.sizes import PLANTED_DAYS, Size
from chassis.database import connect_directly

# All days to come except tomorrow: midnight may be near.
REMOVED_DAYS = 6


async def soak(stage: Stage, size: Size, rhythm: Rhythm, result: SoakResult, log: Log) -> None:
    """Run a soak on a stage that has been entered; its city is dropped afterwards."""
    recorded = False
    try:
        async with stage.city() as city:
            await _record(Scene(stage, city, size, rhythm, result, log))
            recorded = True
    except Exception as error:
        if result.status == "interrupted":
            raise KeyboardInterrupt from None  # Ctrl-C has stopped the servers, too, so dropping the city fails
        if not recorded:
            raise
        # The result is complete without that.
        log(f"the city could not be dropped: {type(error).__name__} {error}")


async def _record(scene: Scene) -> None:
    result = scene.result
    try:
        await _soak(scene)
    except BaseException as error:
        stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
        result.fail("interrupted" if stopped else "failed", f"{type(error).__name__} {error}")
        raise
    finally:
        result.write()


async def _soak(scene: Scene) -> None:
    result = scene.result
    async with AsyncExitStack() as stack:
        owner = await connect_directly(scene.city.owner_url, "billing")
        stack.callback(owner.terminate)
        days = Days(owner, scene.size.planted_events, scene.at)
        await _prepare(scene, owner, days)
        since = datetime.now(UTC)
        result.status = "running"
        outside = await SoakLoad(scene, days).run()
        scene.log("checking the books")
        proof = await prove(scene.city.engine, scene.size, outside, since)
    result.integrity = proof.facts
    result.complaints += proof.complaints
    if result.status == "running":
        result.status = "finished"


async def _prepare(scene: Scene, owner: Connection, days: Days) -> None:
    began = time.monotonic()
    await make_past(scene.city, scene.size, scene.log)
    await seal_past(scene.city, scene.log)
    await days.prepare()
    for _ in range(PLANTED_DAYS):
        await days.plant()
    await days.remove_coming(REMOVED_DAYS)
    await asyncio.to_thread(soak_topics.configure_segments, scene.stage.kafka.bootstrap)
    await scene.stage.superuser("CHECKPOINT")
    seconds = time.monotonic() - began
    size_bytes = await owner.fetchval("SELECT pg_database_size(current_database())")
    scene.result.past = {"seconds": seconds, "database_bytes": size_bytes}
    scene.log(f"the past took {seconds:.0f} s and {size_bytes / 1e9:.1f} GB")

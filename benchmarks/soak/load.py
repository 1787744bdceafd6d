"""The load of a soak: the shipped processes, the sender, and a checkpoint every minute until all events are published.

When something fails, it is noted, and the load goes on with everything that can still be measured.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict

from kafka.errors import KafkaError

from benchmarks.machine.running import WORKERS, relay, running, wait_for_group, workers
from benchmarks.soak import soak_sender
from benchmarks.soak.checkpoints import soak_topics
from benchmarks.soak.checkpoints.checkpoint import Checkpoints, Subjects
from benchmarks.soak.checkpoints.logs import warnings
from benchmarks.soak.checkpoints.watch import Latencies, Watch
from benchmarks.soak.past.days import Days
from benchmarks.soak.proof import CountedOutside
from benchmarks.soak.scene import Scene
from benchmarks.soak.sizes import RESERVE_BYTES
from benchmarks.soak.soak_report import line
from chassis.database import connect_directly
from events.topics import PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS
from sandbox.local.local_process import LocalProcess

# The timer starts with upkeep and audit; both are to run under load.
TIMER_AFTER_SECONDS = 10.0
SENDER_STARTS_SECONDS = 180.0
SENDER_LATE_SECONDS = 60.0
# After this long without a new event in Kafka the missing ones are given up.
SILENCE_SECONDS = 120.0
MOST_FAILURES = 5


class SoakLoad:
    """The load on the scene's city; old days of the outbox are planted while it runs."""

    def __init__(self, scene: Scene, days: Days) -> None:
        stage, settings = scene.stage, {"METERHALL_DATABASE_URL": scene.city.billing_url}
        self._scene = scene
        self._days = days
        self._workers = workers(stage, scene.city)
        self._relay = relay(stage, scene.city)
        self._timer = stage.process("timer", "services.billing.timer", settings)
        size = json.dumps(asdict(scene.size))
        self._sender = stage.process(
            "sender",
            soak_sender.MODULE,
            {soak_sender.SIGNING_KEY: stage.signing_key},
            *(stage.kafka.bootstrap, str(scene.diary), size),
        )
        self._failures = 0

    async def run(self) -> CountedOutside:
        """Run until the events of all commands are published, or none comes any more; then stop the processes."""
        scene, bootstrap = self._scene, self._scene.stage.kafka.bootstrap
        from_the_start = [self._relay, *self._workers]
        async with AsyncExitStack() as stack:
            superuser = scene.stage.postgres.superuser_url(scene.city.name)
            watching, counting = [await connect_directly(superuser, "billing") for _ in range(2)]
            stack.callback(watching.terminate)
            stack.callback(counting.terminate)
            latencies = await stack.enter_async_context(Latencies(bootstrap))
            await stack.enter_async_context(running(from_the_start))
            await wait_for_group(scene.stage, PAYMENT_GROUP, WORKERS)
            first = await asyncio.to_thread(soak_topics.ends, bootstrap)
            stack.callback(self._sender.stop)
            scene.began = await self._start_sender()
            watch = Watch(watching, from_the_start, scene.at)
            tasks = [asyncio.create_task(watch.run()), asyncio.create_task(self._plant_days())]
            stack.push_async_callback(_cancel, tasks)
            await asyncio.sleep(min(TIMER_AFTER_SECONDS, scene.size.seconds / 10))
            await stack.enter_async_context(running([self._timer]))
            watch.add(self._timer)
            checkpoints = Checkpoints(
                Subjects(scene, counting, self._processes(), latencies, watch)
            )
            await checkpoints.start()
            await self._take_checkpoints(checkpoints, watch, tasks)
            await asyncio.to_thread(self._sender.stop)
            counted = await self._wait_until_published(first)
            self._record_watched(watch)
        logs = {
            each.name: warnings(each.log) for group in self._processes().values() for each in group
        }
        scene.result.warnings = logs
        deaths = sum(each.startswith(self._relay.name) for each in watch.deaths)
        return CountedOutside(
            *counted, relay_restarts=logs["relay"].get("relay_starts_over", 0) + deaths
        )

    def _processes(self) -> dict[str, Sequence[LocalProcess]]:
        return {
            "worker": self._workers,
            "relay": [self._relay],
            "timer": [self._timer],
            "sender": [self._sender],
        }

    async def _start_sender(self) -> float:
        """Start the sender; return the time of its first command, in seconds since the epoch."""
        self._sender.launch()
        deadline = time.monotonic() + SENDER_STARTS_SECONDS
        while not (diary := soak_sender.read_diary(self._scene.diary)):
            if not self._sender.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the sender did not start: {_last_lines(self._sender)}")
            await asyncio.sleep(0.1)
        self._scene.log("the load starts")
        return diary[0].began

    async def _take_checkpoints(
        self, checkpoints: Checkpoints, watch: Watch, tasks: Sequence[asyncio.Task[None]]
    ) -> None:
        scene, every = self._scene, self._scene.rhythm.checkpoint_seconds
        # The first checkpoint may cover less time than the others, but not less than half of it.
        first = int(scene.at() / every + 0.5) + 1
        for number in range(first, max(first, int(scene.size.seconds / every)) + 1):
            if not await self._sender_lives_until(number * every):
                scene.result.fail("stopped: the sender died", _last_lines(self._sender))
                return
            await self._take_checkpoint(checkpoints)
            self._record_watched(watch)
            scene.result.write()
            for task in tasks:
                if task.done() and (error := task.exception()):
                    complaint = f"a background task failed: {type(error).__name__} {error}"
                    if complaint not in scene.result.complaints:
                        scene.result.complaints.append(complaint)
            free = scene.stage.free_bytes()
            if free < RESERVE_BYTES:
                scene.result.seconds = scene.at()
                scene.result.status = f"stopped: only {free / 1e9:.1f} GB of disk are free"
                scene.log(scene.result.status)
                return
        await self._wait_for_last_commands()

    async def _take_checkpoint(self, checkpoints: Checkpoints) -> None:
        # After a checkpoint that failed the next one covers the time of both.
        try:
            row = await checkpoints.take()
        except Exception as error:
            self._failures += 1
            self._scene.note(f"checkpoint failed: {type(error).__name__} {error}")
            if self._failures > MOST_FAILURES:
                raise
            return
        self._scene.result.rows.append(row)
        self._scene.log(line(row, self._scene.size.seconds))

    async def _sender_lives_until(self, at_seconds: float) -> bool:
        """Wait until this second of the run; return False if the sender dies before."""
        while self._scene.at() < at_seconds:
            await asyncio.sleep(min(1.0, max(0.01, at_seconds - self._scene.at())))
            if not self._sender.alive() and not soak_sender.read_diary(self._scene.diary)[-1].done:
                return False
        return True

    async def _wait_for_last_commands(self) -> None:
        """Wait for the last commands: they fall due at the end of the run, and a delayed sender is a little late."""
        deadline = self._scene.size.seconds + SENDER_LATE_SECONDS
        while not soak_sender.read_diary(self._scene.diary)[-1].done and self._sender.alive():
            if self._scene.at() > deadline:
                self._scene.note("the sender was stopped before it had sent everything")
                return
            await asyncio.sleep(0.2)

    async def _wait_until_published(self, first: soak_topics.Ends) -> tuple[int, int, int]:
        """Wait for the events of all commands; return the counts of commands, receipts and payment events in Kafka."""
        scene = self._scene
        sent = soak_sender.read_diary(scene.diary)[-1].sent
        receipts = payments = before = 0
        changed_at = time.monotonic()
        while min(receipts, payments) < sent:
            try:
                now = await asyncio.to_thread(soak_topics.ends, scene.stage.kafka.bootstrap)
            except KafkaError as error:
                scene.note(f"reading the ends of the topics failed: {type(error).__name__} {error}")
                now = first
            receipts = max(receipts, soak_topics.records(now, RECEIPT_EVENTS, first))
            payments = max(payments, soak_topics.records(now, PAYMENT_EVENTS, first))
            if receipts + payments > before:
                before, changed_at = receipts + payments, time.monotonic()
            elif time.monotonic() - changed_at > SILENCE_SECONDS:
                scene.result.complaints.append(f"{sent - receipts:,} receipts are missing")
                break
            await asyncio.sleep(1.0)
        scene.result.at_rest_seconds = scene.at()
        scene.log(f"all processed: {sent:,} commands, {receipts:,} receipts")
        return sent, receipts, payments

    async def _plant_days(self) -> None:
        scene, rhythm = self._scene, self._scene.rhythm
        due = rhythm.plant_first_seconds
        # A day that is planted after the last upkeep would not be dropped any more.
        while due < scene.size.seconds - rhythm.plant_every_seconds / 2:
            await asyncio.sleep(max(0.0, due - scene.at()))
            try:
                await self._days.plant()
                await self._days.remove_coming(1)
            except Exception as error:
                scene.note(f"planting a day failed: {type(error).__name__} {error}")
            due += rhythm.plant_every_seconds

    def _record_watched(self, watch: Watch) -> None:
        result = self._scene.result
        result.rotation = self._days.rotation(watch.seen)
        result.audits = watch.audits
        result.complaints += [each for each in watch.deaths if each not in result.complaints]


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _last_lines(process: LocalProcess) -> str:
    return process.log.read_text(errors="replace")[-1000:]

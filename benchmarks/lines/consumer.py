"""consumer: the consumer wrapper alone. Commands are fetched, decoded, checked and committed, but not handled.

A process of its own, `python -m benchmarks.lines.consumer <commands>`, with the worker's broker, group and settings. It
is suspended while the backlog is written; its clock runs from its first batch to its last.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence

from benchmarks.machine.running import meter, running, suspended, wait_for_group
from benchmarks.measured_city import command
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from benchmarks.wallets import Wallets, encode
from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from events.topics import PAYMENT_COMMANDS, PAYMENT_GROUP
from messaging.consumer import Message, Rejected
from messaging.consumer.broker import make_broker, subscribe
from services.billing.database import connect
from services.billing.settings import Settings

MODULE = "benchmarks.lines.consumer"
PATIENCE_SECONDS = 120.0


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Consume the planned number of commands."""
    stage, commands = repeat.stage, repeat.plan.consumer_commands
    async with stage.city() as city:
        due = await city.due(repeat.plan)
        records = encode([command(each) for each in due[:commands]], stage.signing_key)
        settings = {"METERHALL_DATABASE_URL": city.billing_url}
        consumer = stage.process("consumer", MODULE, settings, str(commands))
        consumer.log.unlink(missing_ok=True)
        async with Wallets(stage.kafka.bootstrap) as wallets, running([consumer]):
            await wait_for_group(stage, PAYMENT_GROUP, 1)
            with suspended([consumer]):
                await wallets.send(records)
                used = meter(stage, worker=[consumer])
                await used.start()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not (result := _printed_result(consumer.log.read_text())):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not all commands were consumed; see {consumer.log}")
                await asyncio.sleep(0.05)
            cost = await used.cost(commands)
    complaints = [] if result["distinct"] == commands else [f"{result['distinct']} of {commands}"]
    return {"consumer": Sample(commands / result["seconds"], "commands/s", cost, complaints)}


def _printed_result(log: str) -> dict[str, float]:
    for line in log.splitlines():
        if line.startswith('{"distinct"'):
            result: dict[str, float] = json.loads(line)
            return result
    return {}


async def consume(commands: int, settings: Settings) -> None:
    """The process: count commands, and print a line of JSON once all of them have come."""
    engine = connect(settings.database_url.get_secret_value())
    broker = make_broker(settings.kafka, "benchmark-consumer")
    seen: set[object] = set()
    began = 0.0

    async def count(messages: Sequence[Message]) -> Sequence[Rejected]:
        nonlocal began
        began = began or time.perf_counter()
        seen.update(message.id for message in messages)
        if len(seen) == commands:
            result = {"distinct": len(seen), "seconds": time.perf_counter() - began}
            print(json.dumps(result), flush=True)
        return []

    subscribe(broker, PAYMENT_COMMANDS, PAYMENT_GROUP, count, engine)
    async with Probes(settings.metrics_port, engine):
        await broker.start()
        await until_stopped()
        await broker.stop()
    await engine.dispose()


if __name__ == "__main__":
    run_process(consume(int(sys.argv[1]), Settings()))

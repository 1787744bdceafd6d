"""Process: billing's Kafka consumers. `python -m services.billing.worker`

Builds the use cases, the broker and the guard of commands, and registers the handlers (handlers.py).
"""

import sys

import structlog

from chassis.frozen import ending_frozen_sessions
from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from chassis.telemetry import configure_logging
from messaging.consumer.broker import make_broker
from services.billing import handlers
from services.billing.channels import Guard, Trust, TrustError, door_key, read_trust
from services.billing.door.unkept import Promises
from services.billing.settings import Settings
from services.billing.use_cases import open_use_cases

log = structlog.get_logger()


async def run(settings: Settings, trust: Trust) -> None:
    """Consume until stopped; then finish the work under way."""
    for topic in sorted(trust.topics):
        log.warning(
            "command_topic_is_trusted",
            topic=topic,
            text="signatures are not checked: who may write this topic commands in the name of every channel",
        )
    # The timer looks more often: a worker needs its processor for commands.
    async with open_use_cases(settings, "force_generic_plan", look_seconds=0.5) as use:
        broker = make_broker(settings.kafka, "meterhall-billing-worker")
        promises = Promises(use.engine, door_key(trust))
        guard = Guard(use.engine, trust)
        table = handlers.payment_commands(use.payments, use.top_ups, use.refunds, promises)
        consumers = (
            handlers.consume_payments(broker, use.engine, table, promises, guard),
            handlers.consume_lookups(broker, use.engine, use.lookups, guard),
        )
        stuck = [each.progress for each in consumers]
        async with (
            Probes(settings.metrics_port, use.engine, stuck),
            ending_frozen_sessions(use.engine),
        ):
            await broker.start()
            try:
                await until_stopped()
            finally:
                await broker.stop()


def main() -> None:
    configure_logging("worker")
    settings = Settings()
    try:
        trust = read_trust(settings)
    except TrustError as error:
        sys.exit(str(error))
    run_process(run(settings, trust))


if __name__ == "__main__":
    main()

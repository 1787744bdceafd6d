"""Process: the Kafka consumers of billing. `python -m services.billing.worker`

Builds the workshop, the broker and the guard of commands, and hands them to the slices' consumers.
"""

import sys

import structlog

from chassis.frozen import ending_frozen
from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from chassis.telemetry import configure_logging
from messaging.consume import make_broker
from services.billing.bills import consumer as bills
from services.billing.channels import Guard, Trust, TrustError, door_key, read_trust
from services.billing.payments import consumer as payments
from services.billing.payments.promises import Promises
from services.billing.settings import Settings
from services.billing.workshop import open_workshop

log = structlog.get_logger()


async def run(settings: Settings, trust: Trust) -> None:
    """Consume until told to stop; then finish what is under way."""
    for topic in sorted(trust.topics):
        log.warning(
            "command_topic_is_trusted",
            topic=topic,
            text="signatures are not checked: who may write this topic commands in the name of every channel",
        )
    # The timer looks oftener: a worker that has commands to carry out spares its processor.
    async with open_workshop(settings, "force_generic_plan", look_seconds=0.5) as shop:
        broker = make_broker(settings.kafka, "meterhall-billing-worker")
        guard = Guard(shop.engine, trust)
        promises = Promises(shop.engine, door_key(trust))
        consumptions = (
            payments.register(broker, shop.engine, shop.payments, promises, guard),
            bills.register(broker, shop.engine, shop.lookups, guard),
        )
        stuck = [each.progress for each in consumptions]
        async with Probes(settings.metrics_port, shop.engine, stuck), ending_frozen(shop.engine):
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

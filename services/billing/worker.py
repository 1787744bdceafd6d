"""Process: the Kafka consumers of billing. `python -m services.billing.worker`

Builds the workshop and the broker, and hands them to the slices' consumers.
"""

from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from chassis.telemetry import configure_logging
from messaging.consume import make_broker
from services.billing.bills import consumer as bills
from services.billing.payments import consumer as payments
from services.billing.settings import Settings
from services.billing.workshop import open_workshop


async def run(settings: Settings) -> None:
    """Consume until told to stop; then finish what is under way."""
    async with open_workshop(settings, plan_cache_mode="force_generic_plan") as shop:
        broker = make_broker(settings.kafka, "meterhall-billing-worker")
        consumptions = (
            payments.register(broker, shop.engine, shop.payments),
            bills.register(broker, shop.engine, shop.lookups),
        )
        stuck = [each.progress for each in consumptions]
        async with Probes(settings.metrics_port, shop.engine, stuck):
            await broker.start()
            try:
                await until_stopped()
            finally:
                await broker.stop()


def main() -> None:
    configure_logging("worker")
    run_process(run(Settings()))


if __name__ == "__main__":
    main()

"""Process: the Kafka consumers of billing. `python -m services.billing.worker`

Builds the engine, the PSP client, the connectors and the broker, and hands them to the slices' consumers.
"""

from datetime import timedelta

from faststream.kafka import KafkaBroker

from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from chassis.telemetry import configure_logging
from messaging.consume import make_broker
from services.billing.bills import consumer as bills_consumer
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.database import connect
from services.billing.payments import Payments
from services.billing.payments import consumer as payments_consumer
from services.billing.psp import Psp
from services.billing.settings import Settings


async def run(settings: Settings) -> None:
    """Consume until told to stop; then finish what is under way."""
    engine = connect(settings.database_url.get_secret_value(), pool_size=settings.pool_size)
    psp = Psp(
        settings.psp_url,
        settings.psp_api_key.get_secret_value(),
        timeout_seconds=settings.psp_timeout_seconds,
        return_url=settings.public_url,
    )
    connectors = Connectors(engine, settings)
    resume_after = timedelta(seconds=settings.resume_after_seconds)
    payments = Payments(engine, psp, connectors, resume_after)
    lookups = Lookups(engine, connectors, resume_after)
    broker: KafkaBroker = make_broker(settings.kafka, "meterhall-billing-worker")
    consumptions = (
        payments_consumer.register(broker, engine, payments),
        bills_consumer.register(broker, engine, lookups),
    )
    async with Probes(settings.metrics_port, engine, [each.progress for each in consumptions]):
        await broker.start()
        try:
            await until_stopped()
        finally:
            await broker.stop()
            await lookups.drain()
            await payments.drain()
            await lookups.aclose()
            await payments.aclose()
            await psp.aclose()
            await connectors.aclose()
            await engine.dispose()


def main() -> None:
    configure_logging("worker")
    run_process(run(Settings()))


if __name__ == "__main__":
    main()

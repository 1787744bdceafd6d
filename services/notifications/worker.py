"""Process: notifications' Kafka consumers. `python -m services.notifications.worker`

It only plans deliveries, one statement per batch; the sender sends them, so a slow mail server holds up no consumer.
"""

import asyncio

from chassis.frozen import ending_frozen_sessions
from chassis.probes import Probes, until_stopped
from chassis.telemetry import configure_logging
from messaging.consumer.broker import make_broker
from services.notifications import handlers
from services.notifications.database import connect
from services.notifications.settings import Settings


async def run(settings: Settings) -> None:
    """Consume until stopped."""
    engine = connect(
        settings.notifications_database_url.get_secret_value(), pool_size=settings.pool_size
    )
    broker = make_broker(settings.kafka, "meterhall-notifications-worker")
    handlers.consume_events(broker, engine)
    async with Probes(settings.metrics_port, engine), ending_frozen_sessions(engine):
        await broker.start()
        try:
            await until_stopped()
        finally:
            await broker.stop()
            await engine.dispose()


def main() -> None:
    configure_logging("notifications-worker")
    asyncio.run(run(Settings()))


if __name__ == "__main__":
    main()

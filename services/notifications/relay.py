"""Process: publishes what became of deliveries. `python -m services.notifications.relay`"""

import asyncio

from messaging.probes import Probes, until_stopped
from messaging.relay import Relay
from messaging.telemetry import configure_logging
from services.notifications.database import SCHEMA, connect
from services.notifications.settings import Settings


async def run(settings: Settings) -> None:
    """Publish until told to stop."""
    url = settings.notifications_database_url.get_secret_value()
    engine = connect(url, pool_size=1)  # the probes' only
    try:
        async with Probes(settings.metrics_port, engine):
            await Relay(url, SCHEMA, settings.kafka).run(until_stopped())
    finally:
        await engine.dispose()


def main() -> None:
    configure_logging("notifications-relay")
    asyncio.run(run(Settings()))


if __name__ == "__main__":
    main()

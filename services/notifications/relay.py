"""Process: publishes what became of deliveries. `python -m services.notifications.relay`

Run two: one publishes, the other stands by. A relay that must not go on says why and exits with 1.
"""

import asyncio

from messaging.lead import HaltedError
from messaging.probes import Probes, until_stopped
from messaging.relay import Relay
from messaging.telemetry import configure_logging
from services.notifications.database import SCHEMA, connect
from services.notifications.settings import Settings


async def run(settings: Settings) -> None:
    """Publish until told to stop."""
    url = settings.notifications_database_url.get_secret_value()
    engine = connect(url, pool_size=1)  # for the probes; the relay has a connection of its own
    relay = Relay(url, SCHEMA, settings.kafka)
    try:
        async with Probes(settings.metrics_port, engine):
            await relay.run(until_stopped())
    finally:
        await engine.dispose()


def main() -> None:
    configure_logging("notifications-relay")
    try:
        asyncio.run(run(Settings()))
    except HaltedError:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

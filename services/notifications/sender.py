"""Process: sends mail and webhooks, and keeps the tables small. `python -m services.notifications.sender`

Any number of them may run: a delivery is claimed by one at a time.
"""

import asyncio

from chassis.frozen import ending_frozen_sessions
from chassis.probes import Probes, until_stopped
from chassis.telemetry import configure_logging
from services.notifications.database import connect
from services.notifications.deliveries.send import Sender
from services.notifications.deliveries.upkeep import keep
from services.notifications.mail import BillerNames, MailOutlet, Smtp
from services.notifications.settings import Settings
from services.notifications.webhooks import WebhookOutlet


async def run(settings: Settings) -> None:
    """Send until stopped; then finish the attempts under way."""
    engine = connect(
        settings.notifications_database_url.get_secret_value(), pool_size=settings.pool_size
    )
    names = BillerNames(settings.billing_url)
    mail = MailOutlet(Smtp(settings), names, settings.mail_from, settings.public_url)
    webhooks = WebhookOutlet(
        settings.webhook_timeout_seconds, allow_loopback=settings.webhook_allow_loopback
    )
    sender = Sender(
        engine,
        {"mail": mail, "webhook": webhooks},
        {"mail": settings.mail_concurrency, "webhook": settings.webhook_concurrency},
    )
    async with Probes(settings.metrics_port, engine), ending_frozen_sessions(engine):
        sending = asyncio.create_task(sender.run())
        upkeep = asyncio.create_task(keep(engine, settings.deliveries_kept_days))
        try:
            await until_stopped()
        finally:
            upkeep.cancel()
            sender.stop()
            await asyncio.gather(sending, upkeep, return_exceptions=True)
            await mail.aclose()
            await webhooks.aclose()
            await engine.dispose()


def main() -> None:
    configure_logging("notifications-sender")
    asyncio.run(run(Settings()))


if __name__ == "__main__":
    main()

"""Process: publishes notifications' outbox to Kafka. `python -m services.notifications.relay`"""

from messaging.relay import run_relay
from services.notifications.database import SCHEMA
from services.notifications.settings import Settings


def main() -> None:
    settings = Settings()
    url = settings.notifications_database_url.get_secret_value()
    run_relay("notifications-relay", url, SCHEMA, settings.kafka, settings.metrics_port)


if __name__ == "__main__":
    main()

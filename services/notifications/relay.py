"""Process: what became of deliveries, to Kafka. `python -m services.notifications.relay`"""

from messaging import relay_process
from services.notifications.database import SCHEMA
from services.notifications.settings import Settings


def main() -> None:
    settings = Settings()
    url = settings.notifications_database_url.get_secret_value()
    relay_process.run("notifications-relay", url, SCHEMA, settings.kafka, settings.metrics_port)


if __name__ == "__main__":
    main()

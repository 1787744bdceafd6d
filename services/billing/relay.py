"""Process: publishes billing's outbox to Kafka. `python -m services.billing.relay`"""

from messaging.relay import run_relay
from services.billing.database import SCHEMA
from services.billing.settings import Settings


def main() -> None:
    settings = Settings()
    url = settings.database_url.get_secret_value()
    run_relay("relay", url, SCHEMA, settings.kafka, settings.metrics_port)


if __name__ == "__main__":
    main()

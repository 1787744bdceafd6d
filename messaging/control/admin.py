"""kafka-python's admin client: an implementation that is independent of the one that produces and consumes."""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient


@contextmanager
def admin_client(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """Yield kafka-python's admin client; it is closed afterwards."""
    client = KafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="meterhall-admin", bootstrap_timeout_ms=5000
    )
    try:
        yield client
    finally:
        client.close()

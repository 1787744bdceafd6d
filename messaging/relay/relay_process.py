"""A relay as a process: the same for every service, with the service's schema and database.

Run two: one publishes, the other stands by. A relay that must stop logs the reason and exits with 1.
"""

from chassis.database import connect
from chassis.probes import Probes, until_stopped
from chassis.process import run_process
from chassis.telemetry import configure_logging
from messaging.relay.lead import HaltedError
from messaging.relay.waves import Relay


def run_relay(name: str, database_url: str, schema: str, bootstrap: str, metrics_port: int) -> None:
    """Publish the outbox of `schema` until stopped. `name` is the process's name in logs."""
    configure_logging(name)
    try:
        run_process(_publish(database_url, schema, bootstrap, metrics_port))
    except HaltedError:
        raise SystemExit(1) from None


async def _publish(database_url: str, schema: str, bootstrap: str, metrics_port: int) -> None:
    # Only for the probes; the relay has its own connection.
    engine = connect(database_url, schema, pool_size=1)
    relay = Relay(database_url, schema, bootstrap)
    try:
        async with Probes(metrics_port, engine):
            await relay.run(until_stopped())
    finally:
        await engine.dispose()

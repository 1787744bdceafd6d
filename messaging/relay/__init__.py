"""The relay: publishes the outbox of one schema to Kafka, in the order in which each key's messages were committed."""

from messaging.relay.lead import HaltedError, backlog
from messaging.relay.publish import Publisher, StartOverError
from messaging.relay.relay_process import run_relay
from messaging.relay.waves import Relay

__all__ = ["HaltedError", "Publisher", "Relay", "StartOverError", "backlog", "run_relay"]

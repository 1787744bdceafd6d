"""Kafka for operators: topics, lag and dead letters, by kafka-python, independently of what produces and consumes."""

from messaging.control.admin import admin_client
from messaging.control.lag import Lag, measure_lag
from messaging.control.provisioning import Drift, drifts, provision
from messaging.control.replay import (
    DeadLetter,
    ReplayRefusedError,
    read_dead_letters,
    replay_dead_letters,
)

__all__ = [
    "DeadLetter",
    "Drift",
    "Lag",
    "ReplayRefusedError",
    "admin_client",
    "drifts",
    "measure_lag",
    "provision",
    "read_dead_letters",
    "replay_dead_letters",
]

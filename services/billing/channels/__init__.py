"""Channels: the wallet apps that use us; their keys, limits and idempotency keys."""

from services.billing.channels.authenticate import authenticate
from services.billing.channels.idempotency import Claim, claim_key, idempotency_key
from services.billing.channels.keys import (
    Channel,
    KeyRefusedError,
    UnknownChannelError,
    create_channel,
    issue_key,
    payment_limits,
    revoke_key,
)

__all__ = [
    "Channel",
    "Claim",
    "KeyRefusedError",
    "UnknownChannelError",
    "authenticate",
    "claim_key",
    "create_channel",
    "idempotency_key",
    "issue_key",
    "payment_limits",
    "revoke_key",
]

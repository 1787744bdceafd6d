"""Channels: the wallet apps that use us; their keys, limits and idempotency keys."""

from services.billing.channels.authenticate import authenticate
from services.billing.channels.idempotency import (
    Claim,
    KeyUse,
    claim_key,
    claim_keys,
    idempotency_key,
    key_use,
    release_keys,
)
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
    "KeyUse",
    "UnknownChannelError",
    "authenticate",
    "claim_key",
    "claim_keys",
    "create_channel",
    "idempotency_key",
    "issue_key",
    "key_use",
    "payment_limits",
    "release_keys",
    "revoke_key",
]

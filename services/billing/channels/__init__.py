"""Channels (wallet apps): their keys, limits and idempotency keys."""

from services.billing.channels.authenticate import authenticate
from services.billing.channels.guard import Guard
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
    Limits,
    UnknownChannelError,
    create_channel,
    issue_key,
    payment_limits,
    revoke_key,
)
from services.billing.channels.signing_keys import door_key, issue_signing_key, revoke_signing_key
from services.billing.channels.trust import Trust, TrustError, read_secret, read_trust

__all__ = [
    "Channel",
    "Claim",
    "Guard",
    "KeyUse",
    "Limits",
    "Trust",
    "TrustError",
    "UnknownChannelError",
    "authenticate",
    "claim_key",
    "claim_keys",
    "create_channel",
    "door_key",
    "idempotency_key",
    "issue_key",
    "issue_signing_key",
    "key_use",
    "payment_limits",
    "read_secret",
    "read_trust",
    "release_keys",
    "revoke_key",
    "revoke_signing_key",
]

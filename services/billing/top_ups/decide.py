"""Decide whether a top-up may begin: the channel and its limit do."""

from events.payments import TopUpWallet
from services.billing.channels import Limits


def reason_against(command: TopUpWallet, limits: Limits) -> str | None:
    """A short code that says why not, or nothing."""
    limit = limits.get(command.channel)
    if limit is None:
        return "channel_unknown"
    return "above_limit" if command.amount_minor > limit else None

"""The decision whether a top-up may begin: the channel and its limit."""

from events.payments import TopUpWallet
from services.billing.channels import Limits


def reason_against(command: TopUpWallet, limits: Limits) -> str | None:
    """Return the code of the reason why it may not begin, or None."""
    limit = limits.get(command.channel)
    if limit is None:
        return "channel_unknown"
    return "above_limit" if command.amount_minor > limit else None

"""Kafka in: TopUpWallet commands, a batch at a time."""

from collections.abc import Sequence

from events.payments import TopUpWallet
from messaging.consumer import Message, Rejected
from services.billing.commands import instructions_of, reused, without_reserved_ids
from services.billing.top_ups.top_up import TopUps


async def handle_commands(top_ups: TopUps, messages: Sequence[Message]) -> list[Rejected]:
    """Carry out a batch of TopUpWallet commands; return those that become dead letters."""
    free, refused = without_reserved_ids(messages, "top_up_id")
    positions = await top_ups.top_up(instructions_of(free, TopUpWallet))
    return refused + [reused(free[position], "top_up_id") for position in positions]

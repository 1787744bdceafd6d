"""Kafka in: RefundPayment commands, a batch at a time."""

from collections.abc import Awaitable, Callable, Sequence

from events.payments import RefundPayment
from messaging.consumer import Message, Rejected
from services.billing.commands import instructions_of, reused, without_reserved_ids
from services.billing.refunds.refund import Refunds

# A refund may arrive before its payment is accepted. If the payment is promised, the refund is enqueued again behind
# it; the other messages are returned as rejected.
BringBehind = Callable[[Sequence[Message]], Awaitable[list[Rejected]]]


async def handle_commands(
    refunds: Refunds, bring_behind: BringBehind, messages: Sequence[Message]
) -> list[Rejected]:
    """Carry out a batch of RefundPayment commands; return those that become dead letters."""
    free, refused = without_reserved_ids(messages, "refund_id")
    wrong = await refunds.refund(instructions_of(free, RefundPayment))
    unknown = [free[n] for n, code in wrong.items() if code == "payment_unknown"]
    refused += await bring_behind(unknown)
    refused += [
        reused(free[n], "refund_id", code) for n, code in wrong.items() if code != "payment_unknown"
    ]
    return refused

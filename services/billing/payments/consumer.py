"""Kafka in: PayBill commands, a batch at a time."""

from collections.abc import Sequence

from events.payments import PayBill
from messaging.consumer import Message, Rejected
from services.billing.commands import instructions_of, reused, without_reserved_ids
from services.billing.payments.pay import Payments


async def handle_commands(payments: Payments, messages: Sequence[Message]) -> list[Rejected]:
    """Carry out a batch of PayBill commands; return those that become dead letters."""
    free, refused = without_reserved_ids(messages, "payment_id")
    positions = await payments.pay(instructions_of(free, PayBill))
    return refused + [reused(free[position], "payment_id") for position in positions]

"""The table of commands and their handlers, from which the worker's consumers are registered."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import LookUpBills
from events.message import Event
from events.payments import PayBill, RefundPayment, TopUpWallet
from events.topics import LOOKUP_COMMANDS, LOOKUP_GROUP, PAYMENT_COMMANDS, PAYMENT_GROUP
from messaging.consumer import Handler, Message, Rejected
from messaging.consumer.batches import BatchConsumer
from messaging.consumer.broker import subscribe
from services.billing.bills import consumer as bills
from services.billing.bills.lookup import Lookups
from services.billing.channels import Guard
from services.billing.door.unkept import Promises
from services.billing.payments import Payments
from services.billing.payments import consumer as payments
from services.billing.refunds import Refunds
from services.billing.refunds import consumer as refunds
from services.billing.top_ups import TopUps
from services.billing.top_ups import consumer as top_ups

# The most commands of one transaction. At this size the fixed cost of statements and commit is negligible, and the
# first command waits for the last no longer than for the network.
PAYMENT_BATCH = 1_000


class Handled(NamedTuple):
    """A type of command, and the function that carries out a batch of them and returns the refused ones."""

    command: type[Event]
    take: Callable[[Sequence[Message]], Awaitable[Sequence[Rejected]]]


def payment_commands(
    to_pay: Payments, to_top_up: TopUps, to_refund: Refunds, promises: Promises
) -> tuple[Handled, ...]:
    """Return the handlers of commands about payments. In a batch, payments are handled before refunds."""
    return (
        Handled(PayBill, partial(payments.handle_commands, to_pay)),
        Handled(TopUpWallet, partial(top_ups.handle_commands, to_top_up)),
        Handled(RefundPayment, partial(refunds.handle_commands, to_refund, promises.bring_behind)),
    )


def lookup_commands(lookups: Lookups) -> tuple[Handled, ...]:
    """Return the handlers of commands about lookups."""
    return (Handled(LookUpBills, partial(bills.take, lookups)),)


def consume_payments(
    broker: KafkaBroker,
    engine: AsyncEngine,
    table: Sequence[Handled],
    promises: Promises,
    guard: Guard,
) -> BatchConsumer:
    """Subscribe the handlers of this table to payment commands that pass the guard."""
    return subscribe(
        broker,
        PAYMENT_COMMANDS,
        PAYMENT_GROUP,
        guard.before(dispatch(table)),
        engine,
        max_records=PAYMENT_BATCH,
        buried=promises.fail,
    )


def consume_lookups(
    broker: KafkaBroker, engine: AsyncEngine, lookups: Lookups, guard: Guard
) -> BatchConsumer:
    """Subscribe the handler of lookup commands that pass the guard."""
    handler = guard.before(dispatch(lookup_commands(lookups)))
    return subscribe(broker, LOOKUP_COMMANDS, LOOKUP_GROUP, handler, engine, buried=lookups.fail)


def dispatch(table: Sequence[Handled]) -> Handler:
    """Return a handler of mixed batches: each type of command is one set, in the order of the table."""

    async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
        refused: list[Rejected] = []
        for each in table:
            some = [message for message in messages if isinstance(message.event, each.command)]
            if some:
                refused += await each.take(some)
        return refused

    return handle

"""Kafka in: the commands about payments, a batch at a time, each kind as one set."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import is_derived
from events.message import Event
from events.payments import PayBill, RefundPayment, TopUpWallet
from events.topics import PAYMENT_COMMANDS, PAYMENT_GROUP
from messaging.consume import Consumption, Message, Rejected, subscribe
from services.billing.channels import Guard
from services.billing.payments.model import Instruction
from services.billing.payments.pay import Payments
from services.billing.payments.promises import Promises

CommandT = TypeVar("CommandT", bound=Event)

# One transaction pays so many bills at once. What a statement and a commit cost by themselves no longer shows, and the
# first of them waits for the last no longer than for the network.
BATCH = 1_000


def register(
    broker: KafkaBroker,
    engine: AsyncEngine,
    payments: Payments,
    promises: Promises,
    guard: Guard,
) -> Consumption:
    """Have the broker hand the payment commands that the guard lets through to `payments`."""

    async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
        return await take(payments, promises, messages)

    return subscribe(
        broker,
        PAYMENT_COMMANDS,
        PAYMENT_GROUP,
        guard.before(handle),
        engine,
        max_records=BATCH,
        buried=promises.fail,
    )


async def take(
    payments: Payments, promises: Promises, messages: Sequence[Message]
) -> list[Rejected]:
    """Carry out a batch of commands. An id that is reused with other content is for the dead letters."""
    what_to_do = "choose a UUID of another version than 8: those are derived by us"
    refused: list[Rejected] = []
    free: list[Message] = []
    for each in messages:
        if is_derived(_chosen_id(each.event)):
            refused.append(Rejected(each, "reserved_id", what_to_do))
        else:
            free.append(each)
    pays = _of(free, PayBill)
    refunds = _of(free, RefundPayment)
    top_ups = _of(free, TopUpWallet)
    if pays:
        reused = await payments.pay([_instruction(each, PayBill) for each in pays])
        refused += [_reused(pays[position], "payment_id") for position in reused]
    if top_ups:
        reused = await payments.top_up([_instruction(each, TopUpWallet) for each in top_ups])
        refused += [_reused(top_ups[position], "top_up_id") for position in reused]
    if refunds:
        wrong = await payments.refund([_instruction(each, RefundPayment) for each in refunds])
        unknown = [refunds[n] for n, code in wrong.items() if code == "payment_unknown"]
        refused += await promises.bring_behind(unknown)
        refused += [
            _reused(refunds[n], "refund_id", code)
            for n, code in wrong.items()
            if code != "payment_unknown"
        ]
    return refused


def _chosen_id(event: Event) -> UUID:
    # The id that the command brings into the world.
    match event:
        case PayBill():
            return event.payment_id
        case RefundPayment():
            return event.refund_id
        case TopUpWallet():
            return event.top_up_id
    raise TypeError(f"{type(event).__name__} is no command about payments")


def _of(messages: Sequence[Message], kind: type[Event]) -> list[Message]:
    return [each for each in messages if isinstance(each.event, kind)]


def _instruction(message: Message, kind: type[CommandT]) -> Instruction[CommandT]:
    assert isinstance(message.event, kind)
    return Instruction(message.event, message.correlation_id, message.traceparent)


def _reused(message: Message, field: str, code: str = "id_reused") -> Rejected:
    return Rejected(message, code, f"this {field} was used before with other content")

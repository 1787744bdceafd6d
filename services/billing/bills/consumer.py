"""Kafka in: lookups, a batch at a time."""

from collections.abc import Sequence

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import LookUpBills
from events.topics import LOOKUP_COMMANDS, LOOKUP_GROUP
from messaging.consume import Consumption, Message, Rejected, subscribe
from services.billing.bills.lookup import Instruction, Lookups, Refusal
from services.billing.channels import Guard

_SAID: dict[Refusal, str] = {
    "id_reused": "this lookup_id was used before with another channel or account",
    "account_unknown": "there is no account with this account_id: POST /v1/accounts gives one",
    "channel_unknown": "there is no open channel with this id",
}


def register(
    broker: KafkaBroker, engine: AsyncEngine, lookups: Lookups, guard: Guard
) -> Consumption:
    """Have the broker hand the lookup commands that the guard lets through to `lookups`."""

    async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
        return await take(lookups, messages)

    guarded = guard.before(handle)
    return subscribe(broker, LOOKUP_COMMANDS, LOOKUP_GROUP, guarded, engine, buried=lookups.fail)


async def take(lookups: Lookups, messages: Sequence[Message]) -> list[Rejected]:
    """Carry out a batch of commands. What can't be kept is for the dead letters."""
    commands = [(each, each.event) for each in messages if isinstance(each.event, LookUpBills)]
    refused = await lookups.look_up(
        [Instruction(command, message.correlation_id) for message, command in commands]
    )
    return [
        Rejected(message, refused[command.lookup_id], _SAID[refused[command.lookup_id]])
        for message, command in commands
        if command.lookup_id in refused
    ]

"""Kafka in: lookups, a batch at a time."""

from collections.abc import Sequence

from events.bills import LookUpBills
from messaging.consumer import Message, Rejected
from services.billing.bills.lookup import Instruction, Lookups, Refusal

_SAID: dict[Refusal, str] = {
    "id_reused": "this lookup_id was used before with another channel or account",
    "account_unknown": "there is no account with this account_id: POST /v1/accounts gives one",
    "channel_unknown": "there is no open channel with this id",
}


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

"""Kafka in: LookUpBills commands, a batch at a time."""

from collections.abc import Sequence

from events.bills import LookUpBills
from messaging.consumer import Message, Rejected
from services.billing.bills.lookup import Lookups, Refusal
from services.billing.commands import instructions_of

_SAID: dict[Refusal, str] = {
    "id_reused": "this lookup_id was used before with another channel or account",
    "account_unknown": "there is no account with this account_id: POST /v1/accounts gives one",
    "channel_unknown": "there is no open channel with this id",
}


async def take(lookups: Lookups, messages: Sequence[Message]) -> list[Rejected]:
    """Carry out a batch of LookUpBills commands; return those that become dead letters."""
    instructions = instructions_of(messages, LookUpBills)
    refused = await lookups.look_up(instructions)
    return [
        Rejected(message, reason, _SAID[reason])
        for message, instruction in zip(messages, instructions, strict=True)
        if (reason := refused.get(instruction.command.lookup_id))
    ]

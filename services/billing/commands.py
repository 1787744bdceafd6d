"""Commands from Kafka: converted into instructions or refused, a batch at a time."""

from collections.abc import Sequence

from events.ids import is_derived
from messaging.consumer import Message, Rejected
from services.billing.instruction import CommandT, Instruction

_RESERVED = "choose a UUID of another version than 8: those are derived by us"


def without_reserved_ids(
    messages: Sequence[Message], field: str
) -> tuple[list[Message], list[Rejected]]:
    """Split messages by whether the id in this field is one that callers may choose; return those, and the refused."""
    free: list[Message] = []
    refused: list[Rejected] = []
    for each in messages:
        if is_derived(getattr(each.event, field)):
            refused.append(Rejected(each, "reserved_id", _RESERVED))
        else:
            free.append(each)
    return free, refused


def instructions_of(
    messages: Sequence[Message], command: type[CommandT]
) -> list[Instruction[CommandT]]:
    """Return the commands of these messages, all of this type, as instructions."""
    instructions: list[Instruction[CommandT]] = []
    for each in messages:
        assert isinstance(each.event, command)
        instructions.append(Instruction(each.event, each.correlation_id, each.traceparent))
    return instructions


def reused(message: Message, field: str, code: str = "id_reused") -> Rejected:
    """Return the refusal of a command whose id was used before with other content."""
    return Rejected(message, code, f"this {field} was used before with other content")

"""Commands from Kafka: made into instructions, or refused, a batch at a time."""

from collections.abc import Sequence

from events.ids import is_derived
from messaging.consumer import Message, Rejected
from services.billing.instruction import CommandT, Instruction

_RESERVED = "choose a UUID of another version than 8: those are derived by us"


def without_reserved_ids(
    messages: Sequence[Message], field: str
) -> tuple[list[Message], list[Rejected]]:
    """Those whose commands bring an id that they may choose in this field, and the others."""
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
    """The commands of these messages, which are all of this type."""
    instructions: list[Instruction[CommandT]] = []
    for each in messages:
        assert isinstance(each.event, command)
        instructions.append(Instruction(each.event, each.correlation_id, each.traceparent))
    return instructions


def reused(message: Message, field: str, code: str = "id_reused") -> Rejected:
    """An id that came before with other content is for the dead letters."""
    return Rejected(message, code, f"this {field} was used before with other content")

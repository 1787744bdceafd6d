"""Commands as records of Kafka: signed as a wallet app signs them, and changed in whatever way a test wants."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import Header, headers
from events.ids import uuid7
from events.message import Event
from events.signature import HEADER, SigningKey
from services.billing.channels import Trust, door_key, issue_signing_key

SECRET = b"a master secret of the tests, with 32 characters or more"
TRUST = Trust(SECRET)
DOOR_KEY = door_key(TRUST)


@dataclass(frozen=True)
class CommandRecord:
    """What is sent to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[Header, ...]

    def but(self, **changed: Any) -> "CommandRecord":
        """This record with other fields."""
        return replace(self, **changed)

    def header(self, name: str, *values: bytes) -> "CommandRecord":
        """This record with these values of a header, instead of those that it has."""
        kept = tuple(each for each in self.headers if each[0] != name)
        return replace(self, headers=(*kept, *((name, value) for value in values)))


async def make_signing_key(engine: AsyncEngine, channel: str) -> str:
    """A new signing key of the channel."""
    async with engine.begin() as connection:
        return await issue_signing_key(connection, SECRET, channel)


def signed(
    command: Event, key: str | None, *, ce_id: UUID | None = None, correlation_id: str | None = None
) -> CommandRecord:
    """The command as a record, with a signature if there is a key."""
    id, ce_type, topic = ce_id or uuid7(), command.ce_type(), type(command).topic.name
    value = command.model_dump_json().encode()
    signature = SigningKey(key).sign(topic, command.key, str(id), ce_type, value) if key else None
    said = headers(
        *(id, ce_type, "wallet", command.key, datetime.now(UTC), 1),
        correlation_id=correlation_id,
        signature=signature,
    )
    return CommandRecord(topic, command.key.encode(), value, tuple(said))


def signature_of(record: CommandRecord) -> bytes:
    """The value of the header."""
    return dict(record.headers)[HEADER]


async def send(bootstrap: str, *records: CommandRecord) -> None:
    """Write the records to Kafka, in their order."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for each in records:
            await producer.send_and_wait(
                each.topic, each.value, key=each.key, headers=list(each.headers)
            )
    finally:
        await producer.stop()

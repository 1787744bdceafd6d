"""Commands as Kafka records: signed as a wallet app signs them, with fields and headers that a test can change."""

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
    """A record to send to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[Header, ...]

    def with_fields(self, **changed: Any) -> "CommandRecord":
        """Return a copy with these fields changed."""
        return replace(self, **changed)

    def with_header(self, name: str, *values: bytes) -> "CommandRecord":
        """Return a copy in which this header has these values only."""
        others = tuple(each for each in self.headers if each[0] != name)
        return replace(self, headers=(*others, *((name, value) for value in values)))


async def make_signing_key(engine: AsyncEngine, channel: str) -> str:
    """Issue a signing key of the channel and return it."""
    async with engine.begin() as connection:
        return await issue_signing_key(connection, SECRET, channel)


def signed(
    command: Event, key: str | None, *, ce_id: UUID | None = None, correlation_id: str | None = None
) -> CommandRecord:
    """Return the command as a record, signed if a key is given."""
    id, ce_type, topic = ce_id or uuid7(), command.ce_type(), type(command).topic.name
    value = command.model_dump_json().encode()
    signature = SigningKey(key).sign(topic, command.key, str(id), ce_type, value) if key else None
    record_headers = headers(
        *(id, ce_type, "wallet", command.key, datetime.now(UTC), 1),
        correlation_id=correlation_id,
        signature=signature,
    )
    return CommandRecord(topic, command.key.encode(), value, tuple(record_headers))


def signature_of(record: CommandRecord) -> bytes:
    """Return the value of the signature header."""
    return dict(record.headers)[HEADER]


async def send(bootstrap: str, *records: CommandRecord) -> None:
    """Write the records to Kafka, in their order."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )
    finally:
        await producer.stop()

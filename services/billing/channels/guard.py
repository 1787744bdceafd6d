"""The guard of commands: a command is carried out only when the channel that it names has signed it.

The guard stands before the handlers of all command topics. It caches the valid signing keys for two seconds, so a
revoked key stops working within that time, and needs no query in between. A command that is not signed by the channel
that it names becomes a dead letter and is not carried out.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import Header
from events.signature import HEADER, SigningKey, parse, signed_content
from messaging.consumer import Handler, Message, Rejected
from messaging.transient import is_transient
from services.billing.channels.signing_keys import derive, door_key, valid_signing_keys
from services.billing.channels.trust import Trust

# How long the keys are cached.
CACHE_SECONDS = 2.0
# Headers that decide about a command. A record with one of them twice is ambiguous.
_DECISIVE = (HEADER, "ce_id", "ce_type")


class Fault(NamedTuple):
    """The reason of a refusal: a code, and a text that says what to do and has nothing of the record's content."""

    reason: str
    text: str


UNSIGNED = Fault(
    "unsigned",
    f"the record has no header {HEADER}: sign it with a signing key of the channel that it names",
)
MALFORMED = Fault(
    "bad_signature", f"the header {HEADER} must be k=<key id>,v1=<64 digits of lower-case hex>"
)
TWICE = Fault("bad_signature", f"the headers {', '.join(_DECISIVE)} may each occur only once")
UNKNOWN_KEY = Fault(
    "bad_signature",
    "the signing key is unknown or revoked, or its channel is closed: sign with a valid key of the channel",
)
OTHER_CONTENT = Fault(
    "bad_signature",
    "the signature is not of this topic, key, ce_id, ce_type and value: sign the bytes as they are sent, with the whole"
    " signing key",
)
WRONG_CHANNEL = Fault(
    "wrong_channel",
    "the signing key belongs to another channel than the command names: sign with a key of that channel",
)


class KeysUnreadableError(ConnectionError):
    """The signing keys cannot be read. No record is at fault, so the batch is tried again, whatever the cause."""


class _Valid(NamedTuple):
    """A valid key; the key of the door has no channel and signs for all channels."""

    key: SigningKey
    channel: str | None


class Guard:
    """The guard of one process, for all of its consumers."""

    def __init__(self, engine: AsyncEngine, trust: Trust) -> None:
        self._engine = engine
        self._trust = trust
        # By the beginning of the header: `k=<key id>`.
        self._valid: dict[bytes, _Valid] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def before(self, handler: Handler) -> Handler:
        """Return a handler that passes on properly signed commands and refuses the others."""

        async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
            signed, refused = await self.judge(messages)
            return [*refused, *(await handler(signed))] if signed else refused

        return handle

    async def judge(
        self, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], Sequence[Rejected]]:
        """Return the commands that may be carried out, in their order, and the refusals.

        Raises the database's errors.
        """
        # A batch is of one topic.
        if messages[0].record.topic in self._trust.topics:
            return messages, []
        began = time.monotonic()
        await self._read_unless_since(began - CACHE_SECONDS)
        signed: list[Message] = []
        refused: list[Rejected] = []
        for message in messages:
            fault = _fault(message, self._valid)
            if fault is UNKNOWN_KEY:
                # The key may have been issued just now. A dead letter would cost a transaction anyway, so one query for
                # the whole batch gives an attacker no additional load.
                await self._read_unless_since(began)
                fault = _fault(message, self._valid)
            if fault is None:
                signed.append(message)
            else:
                refused.append(Rejected(message, fault.reason, fault.text))
        return signed, refused

    async def _read_unless_since(self, moment: float) -> None:
        """Read the valid keys, unless they have been read since that moment."""
        async with self._reading:
            if self._read_at >= moment:
                return
            began = time.monotonic()
            try:
                async with self._engine.connect() as connection:
                    channels = await valid_signing_keys(connection)
            except Exception as error:
                if is_transient(error):
                    raise
                raise KeysUnreadableError("see the cause; has `meterhall migrate` run?") from error
            self._valid = self._derived(channels)
            self._read_at = began

    def _derived(self, channels: Mapping[str, str]) -> dict[bytes, _Valid]:
        secret, door = self._trust.secret, door_key(self._trust)
        assert secret is not None and door is not None, (
            "a guard without a secret trusts every topic"
        )
        valid = {_header_prefix(door.id): _Valid(door, None)}
        for id, channel in channels.items():
            # A key's channel never changes, so a derived key stays valid.
            known = self._valid.get(_header_prefix(id))
            key = known.key if known else SigningKey(derive(secret, channel, id))
            valid[_header_prefix(id)] = _Valid(key, channel)
        return valid


def _header_prefix(key_id: str) -> bytes:
    return f"k={key_id}".encode()


def _fault(message: Message, valid: Mapping[bytes, _Valid]) -> Fault | None:
    """Return the fault of a command, or None. This is the worker's hot loop: 3 µs per record."""
    record = message.record
    headers = message.headers
    header = headers.get(HEADER)
    if header is None:
        return UNSIGNED
    if len(headers) != len(record.headers) and _repeats_decisive_header(record.headers):
        return TWICE
    known = valid.get(header.partition(b",")[0])
    if known is None:
        return UNKNOWN_KEY if _is_well_formed(header) else MALFORMED
    # By the contract none of them can contain a line feed.
    content = signed_content(
        record.topic,
        record.key or b"",
        headers["ce_id"] or b"",
        headers["ce_type"] or b"",
        record.value or b"",
    )
    if not known.key.verifies(header, content):
        return OTHER_CONTENT if _is_well_formed(header) else MALFORMED
    own = known.channel is None or known.channel == getattr(message.event, "channel", None)
    return None if own else WRONG_CHANNEL


def _is_well_formed(header: bytes) -> bool:
    try:
        parse(header)
    except ValueError:
        return False
    return True


def _repeats_decisive_header(headers: Sequence[Header]) -> bool:
    names = [name for name, _ in headers]
    return any(names.count(name) > 1 for name in _DECISIVE)

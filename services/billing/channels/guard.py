"""Who commands: a command is carried out only when the channel that it names has signed it.

The guard stands before the handlers of all command topics. It knows the valid signing keys and reads them again after
two seconds, so a revoked key stops within that; in between it asks the database nothing. What is not signed, or not by
the channel that it names, becomes a dead letter and is not acted on.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import Header
from events.signature import HEADER, SigningKey, parse, signed_content
from messaging.consumption import Handler, Message, Rejected
from services.billing.channels.signing_keys import derive, door_key, valid_signing_keys
from services.billing.channels.trust import Trust

# How long the keys that were read are believed.
BELIEVED_SECONDS = 2.0
# Headers that decide about a command. A record that has one of them twice says two things.
_DECISIVE = ("ce_id", "ce_type")


class Fault(NamedTuple):
    """Why a command is refused: a code, and a text that says what to do and holds nothing of the record."""

    reason: str
    text: str


UNSIGNED = Fault(
    "unsigned",
    f"the record has no header {HEADER}: sign it with a signing key of the channel that it names",
)
MALFORMED = Fault(
    "bad_signature", f"the header {HEADER} must be k=<key id>,v1=<64 digits of lower-case hex>"
)
TWICE = Fault(
    "bad_signature", f"the headers {HEADER}, {', '.join(_DECISIVE)} may be there once each"
)
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


class FaultError(Exception):
    """The command is refused."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class _Valid(NamedTuple):
    """A valid key; the door's has no channel and signs for each."""

    key: SigningKey
    channel: str | None


class Guard:
    """The guard of one process, for all of its consumers."""

    def __init__(self, engine: AsyncEngine, trust: Trust) -> None:
        self._engine = engine
        self._trust = trust
        self._valid: dict[str, _Valid] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def before(self, handler: Handler) -> Handler:
        """A handler that hands on what is properly signed, and refuses the rest."""

        async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
            signed, refused = await self.judge(messages)
            return [*refused, *(await handler(signed))] if signed else refused

        return handle

    async def judge(
        self, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], Sequence[Rejected]]:
        """Those that may be carried out, in their order, and the others. Raises what the database raises."""
        # A batch is of one topic.
        if messages[0].record.topic in self._trust.topics:
            return messages, []
        began = time.monotonic()
        await self._read_unless_since(began - BELIEVED_SECONDS)
        signed: list[Message] = []
        refused: list[Rejected] = []
        for message in messages:
            try:
                key_id, digest = _signature_of(message)
                if key_id not in self._valid:
                    # Perhaps it was issued just now. The dead letter would cost a transaction anyway, so one query for
                    # the whole batch gives a stranger nothing to wear the database out with.
                    await self._read_unless_since(began)
                _check(message, self._valid.get(key_id), digest)
            except FaultError as error:
                refused.append(Rejected(message, error.fault.reason, error.fault.text))
            else:
                signed.append(message)
        return signed, refused

    async def _read_unless_since(self, moment: float) -> None:
        """Read the valid keys, unless they have been read since that moment."""
        async with self._reading:
            if self._read_at >= moment:
                return
            began = time.monotonic()
            async with self._engine.connect() as connection:
                channels = await valid_signing_keys(connection)
            self._valid = self._derived(channels)
            self._read_at = began

    def _derived(self, channels: dict[str, str]) -> dict[str, _Valid]:
        secret = self._trust.secret
        assert secret is not None, "only a guard that trusts every topic has no secret"
        door = door_key(self._trust)
        assert door is not None
        valid = {door.id: _Valid(door, None)}
        for id, channel in channels.items():
            known = self._valid.get(id)
            # A key's channel never changes, so what was derived once stays right.
            valid[id] = known or _Valid(SigningKey(derive(secret, channel, id)), channel)
        return valid


def _signature_of(message: Message) -> tuple[str, bytes]:
    """The key id and the digest that a command carries; raises FaultError."""
    headers = message.record.headers
    signatures = [value for name, value in headers if name == HEADER]
    if not signatures:
        raise FaultError(UNSIGNED)
    if len(signatures) > 1:
        raise FaultError(TWICE)
    try:
        return parse(signatures[0] or b"")
    except ValueError as error:
        raise FaultError(MALFORMED) from error


def _check(message: Message, valid: _Valid | None, digest: bytes) -> None:
    """Raise FaultError unless this key has signed the command and may name its channel. 2 µs a record with the rest."""
    if valid is None:
        raise FaultError(UNKNOWN_KEY)
    record = message.record
    headers = dict(record.headers)
    if len(headers) != len(record.headers) and _says_two_things(record.headers):
        raise FaultError(TWICE)
    try:
        content = signed_content(
            record.topic,
            record.key or b"",
            headers["ce_id"],
            headers["ce_type"],
            record.value or b"",
        )
    except ValueError as error:
        raise FaultError(OTHER_CONTENT) from error
    if not valid.key.fits(digest, content):
        raise FaultError(OTHER_CONTENT)
    if valid.channel is not None and valid.channel != getattr(message.event, "channel", None):
        raise FaultError(WRONG_CHANNEL)


def _says_two_things(headers: Sequence[Header]) -> bool:
    names = [name for name, _ in headers]
    return any(names.count(name) > 1 for name in _DECISIVE)

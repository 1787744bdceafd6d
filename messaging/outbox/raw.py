"""The column `raw` of the outbox: the original key and headers of a dead letter, packed into bytes."""

import base64
import json

from events.envelope import Header


def pack_raw(key: bytes | None, headers: list[Header]) -> bytes:
    """Return a key and headers as `Outgoing.raw` stores them."""

    def text(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode()

    return json.dumps(
        {"key": text(key), "headers": [[name, text(value)] for name, value in headers]}
    ).encode()


def unpack_raw(raw: bytes) -> tuple[bytes | None, list[Header]]:
    """Return the key and the headers that were packed."""
    packed = json.loads(raw)
    key = packed["key"]
    return (
        None if key is None else base64.b64decode(key),
        # A header without a value becomes one with an empty value: neither client can send the difference.
        [(name, base64.b64decode(value or "")) for name, value in packed["headers"]],
    )

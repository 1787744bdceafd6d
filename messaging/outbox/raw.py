"""The column `raw` of the outbox: the key and the headers of a dead letter as they were, packed into bytes."""

import base64
import json

from events.envelope import Header


def pack_raw(key: bytes | None, headers: list[Header]) -> bytes:
    """A key and headers, as `Outgoing.raw` holds them."""

    def text(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode()

    return json.dumps(
        {"key": text(key), "headers": [[name, text(value)] for name, value in headers]}
    ).encode()


def unpack_raw(raw: bytes) -> tuple[bytes | None, list[Header]]:
    """The key and the headers that pack_raw() was given."""
    packed = json.loads(raw)
    key = packed["key"]
    return (
        None if key is None else base64.b64decode(key),
        # A header without a value comes back as an empty one: neither client can send the difference.
        [(name, base64.b64decode(value or "")) for name, value in packed["headers"]],
    )

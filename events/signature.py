"""Signatures of commands: the Kafka header `meterhall-signature: k=<key id>,v1=<hex>` proves the channel.

`<hex>` is the HMAC-SHA256 of signed_content(), keyed with the whole signing key (`mhs_<key id>_<secret>`) as text. The
headers `correlation_id` and `traceparent` are not signed: they are optional and decide nothing. A signed record that is
sent again changes nothing, because the id in a command is its idempotency key.

This file needs only the standard library: a wallet app in Python may copy it.
"""

import hmac
import re

HEADER = "meterhall-signature"
_KEY = re.compile("mhs_([A-Za-z0-9-]{1,40})_[A-Za-z0-9_-]+")
_FORM = re.compile(rb"k=([A-Za-z0-9-]{1,40}),v1=([0-9a-f]{64})")


class SigningKey:
    """A signing key, ready to sign and to check records."""

    def __init__(self, text: str) -> None:
        """Parse a key as it was issued. Raises ValueError when it has another form."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise ValueError("a signing key has the form mhs_<key id>_<secret>")
        self.id = match[1]
        self._prefix = f"k={self.id},v1=".encode()
        # A copy of this object starts with the key already hashed.
        self._keyed = hmac.new(text.encode(), digestmod="sha256")

    def sign(self, topic: str, key: str, ce_id: str, ce_type: str, value: bytes) -> str:
        """Return the header's value for this record. Raises ValueError when a part before the value has a line feed."""
        content = signed_content(topic, key.encode(), ce_id.encode(), ce_type.encode(), value)
        return self._header(content).decode()

    def verifies(self, header: bytes, content: bytes) -> bool:
        """Return True when this header is this key's signature of the content. Takes the same time for a wrong one."""
        return hmac.compare_digest(header, self._header(content))

    def _header(self, content: bytes) -> bytes:
        digest = self._keyed.copy()
        digest.update(content)
        return self._prefix + digest.hexdigest().encode()


def signed_content(topic: str, key: bytes, ce_id: bytes, ce_type: bytes, value: bytes) -> bytes:
    """Return the bytes that a signature covers: five lines, `v1` first, then the value unchanged.

    They differ for any two records, because no line contains a line feed: raises ValueError when one does.
    """
    if "\n" in topic or b"\n" in key or b"\n" in ce_id or b"\n" in ce_type:
        raise ValueError("topic, key, ce_id and ce_type must not have a line feed")
    return b"\n".join((b"v1", topic.encode(), key, ce_id, ce_type, value))


def parse(header: bytes) -> tuple[str, bytes]:
    """Return the key id and the digest of a header's value. Raises ValueError when it has another form."""
    match = _FORM.fullmatch(header)
    if match is None:
        raise ValueError("the form is k=<key id>,v1=<64 digits of lower-case hex>")
    return match[1].decode(), bytes.fromhex(match[2].decode())

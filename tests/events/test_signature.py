"""A signature covers the deciding parts of a command unambiguously, and equals Python's own HMAC."""

import ast
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import signature
from events.signature import HEADER, SigningKey, parse, signed_content

KEY = "mhs_0123abcd_c2VjcmV0LW9mLXRoaXMtdGVzdC1vbmx5LTMyLWJ5dGVz"
PARTS = ("billing.payment.commands.v1", b"key", b"id", b"type", b"value\nwith lines")


@given(secret=st.text("abcXYZ019-_", min_size=1, max_size=90), value=st.binary(max_size=200))
def test_a_signature_is_hmac_sha256_of_the_content_with_the_whole_key(
    secret: str, value: bytes
) -> None:
    key = f"mhs_k1_{secret}"
    content = b"v1\ntopic\nkey\nid\ntype\n" + value
    expected = hmac.new(key.encode(), content, hashlib.sha256).hexdigest()
    assert SigningKey(key).sign("topic", "key", "id", "type", value) == f"k=k1,v1={expected}"


def test_a_signature_verifies_only_the_signed_content() -> None:
    key = SigningKey(KEY)
    header = key.sign("topic", "key", "id", "type", b"value").encode()
    id, digest = parse(header)
    assert id == key.id == "0123abcd"
    assert len(digest) == 32 and header.decode().endswith(digest.hex())
    assert key.verifies(header, signed_content("topic", b"key", b"id", b"type", b"value"))
    assert not SigningKey(KEY[:-1]).verifies(
        header, signed_content("topic", b"key", b"id", b"type", b"value")
    )
    others = [
        ("topi", b"ckey", b"id", b"type", b"value"),
        ("topic", b"keyid", b"", b"type", b"value"),
        ("topic", b"key", b"id2", b"type", b"value"),
        ("topic", b"key", b"id", b"typ", b"evalue"),
        ("topic", b"key", b"id", b"type", b"value "),
    ]
    assert not any(key.verifies(header, signed_content(*each)) for each in others)


@pytest.mark.parametrize("position", range(4))
def test_a_line_feed_before_the_value_is_refused(position: int) -> None:
    parts = [*PARTS]
    parts[position] = "a\nb" if position == 0 else b"a\nb"
    with pytest.raises(ValueError, match="line feed"):
        signed_content(*parts)  # type: ignore[arg-type]
    assert signed_content(*PARTS).endswith(b"value\nwith lines")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"k=a",
        b"k=a,v1=" + b"0" * 63,
        b"k=a,v1=" + b"0" * 65,
        b"k=a,v1=" + b"A" * 64,
        b"k=a,v1=" + b"0" * 64 + b"\n",
        b"k=a, v1=" + b"0" * 64,
        b"k=,v1=" + b"0" * 64,
        b"k=" + b"a" * 41 + b",v1=" + b"0" * 64,
        b"k=a\xff,v1=" + b"0" * 64,
        b"v1=" + b"0" * 64 + b",k=a",
        b"x" * 900_000,
    ],
)
def test_a_malformed_signature_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="form"):
        parse(header)


@pytest.mark.parametrize(
    "key", ["", "mhs_", "mhs_a", "mhs_a_", "mhs__a", "mh_a_b", "mhs_a,b_c", "mhs_a_b\n"]
)
def test_a_malformed_signing_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="mhs_<key id>_<secret>"):
        SigningKey(key)


def test_signature_py_needs_only_the_standard_library() -> None:
    tree = ast.parse(Path(signature.__file__).read_text())
    imported = {
        name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names
    }
    assert imported == {"hmac", "re"}
    assert not [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    assert HEADER == "meterhall-signature"

"""The envelope: compatible in both directions with the CloudEvents library, and safe against hostile records."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from events import bounds, envelope
from events.envelope import ContractError, Header, decode, headers
from events.ids import milliseconds_of, uuid7
from events.payments import RefundPayment, WalletToppedUp
from events.topics import PAYMENT_COMMANDS, PAYMENT_EVENTS

NOW = datetime(2026, 11, 23, 2, 30, 5, 123456, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFUND = RefundPayment(refund_id=uuid7(), payment_id=uuid7(), channel="citywallet")
VALUE = REFUND.model_dump_json().encode()
NAMED = [("ce_id", str(uuid7()).encode()), ("ce_type", REFUND.ce_type().encode())]


def refusal_code(**changed: Any) -> str:
    record = {
        "topic": PAYMENT_COMMANDS.name,
        "key": REFUND.key.encode(),
        "value": VALUE,
        "raw_headers": NAMED,
        **changed,
    }
    with pytest.raises(ContractError) as error:
        decode(**record)
    assert "secret-of-the-sender" not in error.value.text
    return error.value.code


def test_the_cloudevents_library_reads_our_records() -> None:
    id = uuid7()
    written = headers(
        id, REFUND.ce_type(), PAYMENT_COMMANDS.source, REFUND.key, NOW, 7, "00-1-2-01", "c-1"
    )
    read = from_binary_event(KafkaMessage(dict(written), REFUND.key.encode(), VALUE))
    assert read.get_id() == str(id)
    assert read.get_type() == "meterhall.RefundPayment.v1"
    assert read.get_source() == "meterhall/billing"
    assert read.get_subject() == REFUND.key
    assert read.get_specversion() == "1.0"
    assert read.get_time() == NOW
    assert read.get_datacontenttype() == "application/json"
    assert read.get_extension("sequence") == "7"
    assert read.get_data() == json.loads(VALUE)


def test_records_of_the_cloudevents_library_are_read() -> None:
    id = uuid7()
    attributes = {
        "id": str(id),
        "type": REFUND.ce_type(),
        "source": "citywallet",
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "partitionkey": REFUND.key,
    }
    message = to_binary_event(CloudEvent(attributes, json.loads(VALUE)))
    key = message.key.encode() if isinstance(message.key, str) else message.key
    read = decode(PAYMENT_COMMANDS.name, key, message.value, list(message.headers.items()))
    assert (read.id, read.event) == (id, REFUND)


def test_traceparent_and_correlation_id_are_read() -> None:
    optional: list[Header] = [("traceparent", TRACE.encode()), ("correlation_id", b"c-1")]
    read = decode(PAYMENT_COMMANDS.name, None, VALUE, NAMED + optional)
    assert (read.traceparent, read.correlation_id, read.dropped) == (TRACE, "c-1", ())


@pytest.mark.parametrize(
    ("raw", "is_valid"),
    [
        (b"x" * bounds.CORRELATION_ID, True),
        ("𠮷".encode() * bounds.CORRELATION_ID, True),
        ("order/7 of 刘䶮".encode(), True),
        (b"x" * (bounds.CORRELATION_ID + 1), False),
        (b"x" * 1_990, False),
        (b"x" * 900_000, False),
        (b"a\0b", False),
        (b"a\nb", False),
        ("a\u202eb".encode(), False),
        (b"\xff", False),
        (b"\xed\xa0\x80", False),
    ],
)
def test_an_invalid_correlation_id_is_dropped_and_its_record_is_read(
    raw: bytes, is_valid: bool
) -> None:
    read = decode(PAYMENT_COMMANDS.name, None, VALUE, [*NAMED, ("correlation_id", raw)])
    assert read.event == REFUND
    assert read.correlation_id == (raw.decode() if is_valid else None)
    assert read.dropped == (() if is_valid else ("correlation_id",))


@pytest.mark.parametrize("raw", [b"00-1-2-01", TRACE.encode() + b"0", b"x" * 9_000, b"\xff"])
def test_an_invalid_traceparent_is_dropped(raw: bytes) -> None:
    read = decode(PAYMENT_COMMANDS.name, None, VALUE, [*NAMED, ("traceparent", raw)])
    assert (read.traceparent, read.dropped) == (None, ("traceparent",))


@pytest.mark.parametrize(
    "write_id",
    [str, str.upper, lambda id: id.replace("-", ""), "urn:uuid:{}".format, "{{{}}}".format],
    ids=["plain", "capitals", "no hyphens", "urn", "braces"],
)
def test_a_key_may_use_every_uuid_notation_that_the_value_may(
    write_id: Callable[[str], str],
) -> None:
    written = write_id(REFUND.key)
    value = json.dumps({**json.loads(VALUE), "payment_id": written}).encode()
    assert decode(PAYMENT_COMMANDS.name, REFUND.key.encode(), value, NAMED).event == REFUND
    assert decode(PAYMENT_COMMANDS.name, written.encode(), VALUE, NAMED).event == REFUND


def test_unknown_fields_are_ignored() -> None:
    value = json.dumps({**json.loads(VALUE), "loyalty": 7}).encode()
    assert decode(PAYMENT_COMMANDS.name, None, value, NAMED).event == REFUND


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"value": None}, "tombstone"),
        ({"value": b"x" * (envelope.LARGEST_VALUE_BYTES + 1)}, "too_large"),
        ({"value": b"secret-of-the-sender"}, "bad_value"),
        ({"value": b'{"refund_id": "secret-of-the-sender"}'}, "bad_value"),
        ({"value": b"\xff\xfe"}, "bad_value"),
        ({"value": b"[]"}, "bad_value"),
        ({"key": b"another"}, "bad_key"),
        ({"key": b""}, "bad_key"),
        ({"key": b"\xff"}, "bad_key"),
        ({"key": REFUND.key.encode() + b"\n"}, "bad_key"),
        ({"key": REFUND.payment_id.bytes}, "bad_key"),
        ({"key": str(REFUND.refund_id).encode()}, "bad_key"),
        ({"raw_headers": []}, "unknown_type"),
        ({"raw_headers": [("ce_type", b"meterhall.RefundPayment.v9")]}, "unknown_type"),
        ({"raw_headers": NAMED[1:]}, "bad_id"),
        ({"raw_headers": [*NAMED[1:], ("ce_id", b"1")]}, "bad_id"),
        ({"raw_headers": [*NAMED[1:], ("ce_id", b"\xff")]}, "bad_header"),
        ({"topic": PAYMENT_EVENTS.name}, "unknown_type"),
    ],
)
def test_records_against_the_contract_are_refused_with_a_stable_code(
    changed: dict[str, Any], code: str
) -> None:
    assert refusal_code(**changed) == code


@given(
    st.one_of(st.none(), st.binary(max_size=300)),
    st.one_of(st.none(), st.binary(max_size=300)),
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_type", "x"]), st.binary(max_size=40))),
)
def test_arbitrary_bytes_raise_only_contract_errors(
    key: bytes | None, value: bytes | None, raw_headers: list[Header]
) -> None:
    for known in ([], NAMED):
        with pytest.raises(ContractError):
            decode(PAYMENT_COMMANDS.name, key, value, [*raw_headers, *known])


def test_an_amount_is_a_positive_integer_below_2_to_the_53() -> None:
    top_up = {"top_up_id": str(uuid7()), "channel": "c", "payer": "p", "currency": "CNY"}
    for bad in (0, -1, 1.5, "100", True, 2**53, None):
        with pytest.raises(ValueError, match="amount_minor"):
            WalletToppedUp.model_validate_json(json.dumps({**top_up, "amount_minor": bad}))


def test_ids_sort_by_creation_time() -> None:
    ids = [uuid7() for _ in range(1_000)]
    assert len(set(ids)) == len(ids)
    assert [milliseconds_of(each) for each in ids] == sorted(milliseconds_of(each) for each in ids)
    assert {each.version for each in ids} == {7}
    assert {each.variant for each in ids} == {"specified in RFC 4122"}

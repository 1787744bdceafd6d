"""Our headers against the CloudEvents SDK: what another team's library reads is what we meant."""

from datetime import UTC, datetime

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat

from events.envelope import headers
from events.ids import uuid7


def test_the_sdk_reads_what_we_write() -> None:
    id, time = uuid7(), datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
    written = headers(
        id, "meterhall.PaymentSucceeded.v1", "meterhall/billing", "the-payment", time, 3
    )

    event = from_binary_event(
        KafkaMessage(headers=dict(written), key=b"the-payment", value=b'{"amount_minor": 8850}'),
        JSONFormat(),
    )
    assert event.get_id() == str(id)
    assert event.get_type() == "meterhall.PaymentSucceeded.v1"
    assert event.get_source() == "meterhall/billing"
    assert event.get_subject() == "the-payment"
    assert event.get_specversion() == "1.0"
    assert event.get_time() == time
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("sequence") == "3"
    assert event.get_data() == {"amount_minor": 8850}

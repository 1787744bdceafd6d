"""Deliveries are planned once per event and recipient, however often the event arrives."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from events.ids import uuid7
from messaging.consumer import Message
from services.notifications.deliveries.tables import BODY_BYTES
from services.notifications.handlers import handler
from tests.services.notifications.support import Hall, Record, issued, message_of, succeeded


async def test_an_event_becomes_a_mail_to_the_payer_and_a_webhook_to_the_channel(
    hall: Hall,
) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    payer, _ = await hall.payer(channel)
    await hall.take(message_of(issued(channel, payer)))
    found = await hall.deliveries()
    assert {(each.medium, each.recipient, each.status) for each in found} == {
        ("mail", payer, "pending"),
        ("webhook", channel, "pending"),
    }


async def test_an_event_that_comes_twice_is_told_once(hall: Hall) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    payer, _ = await hall.payer(channel)
    message = message_of(issued(channel, payer))
    await hall.take(message, message)  # in one batch
    await hall.take(message)  # and in another
    assert len(await hall.deliveries()) == 2


async def test_whoever_has_no_row_is_not_told(hall: Hall) -> None:
    channel = await hall.channel()
    await hall.take(
        message_of(issued(channel, "nobody")),
        message_of(issued("no-such-channel", "nobody")),
    )
    assert await hall.deliveries() == []


async def test_a_payer_of_another_channel_is_somebody_else(hall: Hall) -> None:
    one, other = await hall.channel(), await hall.channel()
    payer, _ = await hall.payer(one)
    await hall.take(message_of(issued(other, payer)))
    assert await hall.deliveries() == []


async def test_the_body_is_the_event_as_cloudevents_with_the_value_as_it_came(hall: Hall) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    event, id = succeeded(channel, "p"), uuid7()
    message = message_of(event, id, sequence=3)
    await hall.take(message)
    [delivery] = await hall.deliveries()
    body = json.loads(delivery.body)
    assert body.pop("time")
    assert body.pop("data") == json.loads(event.model_dump_json())
    assert body == {
        "specversion": "1.0",
        "id": str(id),
        "type": "meterhall.PaymentSucceeded.v1",
        "source": "meterhall/billing",
        "subject": str(event.payment_id),
        "sequence": "3",
        "datacontenttype": "application/json",
        "correlationid": "order-7",
    }


def with_headers(message: Message, **replaced: bytes | None) -> Message:
    """The message with other headers on its record; they may be whatever Kafka carries."""
    record = message.record
    assert isinstance(record, Record)
    headers: Any = [*{**dict(record.headers), **replaced}.items()]
    return message._replace(record=replace(record, headers=headers))


NOT_KEPT = [
    *(b"", b"\xff\xfe", b"a\x00b", b"a\nb", b"9" * 9_000, b"\xed\xa0\x80", None),
    *(b"yesterday", b"-1", b"0001-01-01T00:00:00+14:00", b"2026-11-23", "٣".encode()),
]


@pytest.mark.parametrize("raw", NOT_KEPT)
async def test_a_header_that_cannot_be_kept_costs_neither_its_event_nor_a_neighbour(
    hall: Hall, raw: bytes | None
) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    bad = with_headers(
        message_of(succeeded(channel, "p")), ce_time=raw, ce_sequence=raw, ce_source=b"\x00\xff"
    )
    text = (raw or b"").decode(errors="surrogateescape")
    await hall.take(
        message_of(succeeded(channel, "before")),
        bad._replace(traceparent=text, correlation_id="\x00" + text),
        message_of(succeeded(channel, "after")),
    )
    found = {each.payer: each for each in await hall.deliveries()}
    assert found.keys() == {"before", "p", "after"}
    assert (found["p"].correlation_id, found["p"].traceparent) == (None, None)
    body = json.loads(found["p"].body)
    assert datetime.fromisoformat(body["time"]).tzinfo
    assert body["source"] == "meterhall/billing"
    assert body["data"]["payer"] == "p"
    assert not {"sequence", "correlationid", "traceparent"} & body.keys()


@pytest.mark.parametrize("timestamp", [-1, 2**63 - 1, -(2**63)])
async def test_a_record_from_outside_of_the_calendar_is_told(hall: Hall, timestamp: int) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    message = with_headers(message_of(succeeded(channel, "p")), ce_time=b"?")
    assert isinstance(message.record, Record)
    record = replace(message.record, timestamp=timestamp)
    await hall.take(message._replace(record=record))
    [delivery] = await hall.deliveries()
    assert datetime.fromisoformat(json.loads(delivery.body)["time"])


async def test_the_longest_headers_are_kept(hall: Hall) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    message = with_headers(message_of(succeeded(channel, "p")), ce_sequence=b"9" * 19)
    await hall.take(message._replace(correlation_id="缴" * 128, traceparent=traceparent))
    await hall.take(message_of(succeeded(channel, "q"))._replace(correlation_id="缴" * 129))
    kept, dropped = await hall.deliveries()
    assert (kept.correlation_id, kept.traceparent) == ("缴" * 128, traceparent)
    body = json.loads(kept.body)
    assert (body["correlationid"], body["sequence"]) == ("缴" * 128, "9" * 19)
    assert dropped.correlation_id is None


async def test_a_field_that_cannot_be_stored_is_rejected_and_touches_no_other(hall: Hall) -> None:
    channel = await hall.channel("http://127.0.0.1:9/hook")
    good = message_of(succeeded(channel, "p"))
    assert isinstance(good.record, Record)
    model = type(good.event)

    def but(**fields: str) -> Message:
        # Past the model's own check, as a contract with wider fields would let it in.
        return good._replace(event=model.model_construct(**{**dict(good.event), **fields}))

    large = replace(good.record, value=good.record.value + b" " * BODY_BYTES)
    bad = [
        but(channel="c" * 41),
        but(payer="p" * 65),
        but(payer="p\x00"),
        but(payer="\ud800"),
        good._replace(record=large),
    ]
    rejected = await handler(hall.engine)([*bad[:3], good, *bad[3:]])
    assert [each.message for each in rejected] == bad
    assert {each.reason for each in rejected} == {"does_not_fit"}
    assert [each.text.split(":")[0] for each in rejected] == [
        *("channel", "payer", "payer", "payer", "body"),
    ]
    assert [each.payer for each in await hall.deliveries()] == ["p"]

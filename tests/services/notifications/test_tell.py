"""Who is told of what, once per event and recipient, however often the event comes."""

import json

import pytest
from sqlalchemy.exc import DBAPIError

from events.ids import uuid7
from events.message import Event
from events.payments import PaymentAccepted, PaymentActionRequired, RefundFailed, WalletToppedUp
from services.notifications.recipients import put_recipient
from services.notifications.tell import is_for_the_payer
from tests.services.notifications.support import (
    Hall,
    about,
    failed,
    issued,
    message_of,
    refunded,
    succeeded,
    voided,
)


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


@pytest.mark.parametrize(
    ("event", "mail"),
    [
        (issued("app", "p"), True),
        (failed("app", "p"), True),
        (refunded("app", "p", 100, 100), True),
        (voided("app", "p", "reversed"), True),
        (voided("app", "p", "refunded"), False),  # told by the refund
        (succeeded("app", "p"), False),  # told by the receipt
        (PaymentAccepted(**about("app", "p")), False),
        (PaymentActionRequired(**about("app", "p"), action_url="https://psp.example"), False),
        (
            RefundFailed(**about("app", "p"), refund_id=uuid7(), refund_minor=1, reason="disputed"),
            False,
        ),
        (
            WalletToppedUp(
                top_up_id=uuid7(), channel="app", payer="p", amount_minor=1, currency="CNY"
            ),
            False,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_payer_gets_one_mail_per_happening(event: Event, mail: bool) -> None:
    assert is_for_the_payer(event) is mail


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


@pytest.mark.parametrize(
    ("email", "refusal"),
    [
        ("a@b.org\r\nBcc: c@d.org", "email_fits_a_header"),
        ("a@b.org\nX: y", "email_fits_a_header"),
        ("a b@c.org", "email_fits_a_header"),
        ("no-at-sign", "email_fits_a_header"),
        ("张@例子.中国", "email_fits_a_header"),
        ("a@" + "b" * 300, "character varying\\(254\\)"),
    ],
)
async def test_the_database_keeps_no_address_that_breaks_a_header(
    hall: Hall, email: str, refusal: str
) -> None:
    channel = await hall.channel()
    with pytest.raises(DBAPIError, match=refusal):
        async with hall.engine.begin() as connection:
            await put_recipient(connection, channel, "p", email, "en")

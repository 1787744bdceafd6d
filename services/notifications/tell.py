"""Who is told of what: a batch of events becomes deliveries, one for each event, medium and recipient.

The channel's endpoint hears of every event; the payer gets one mail per happening, in the inbox where it matters
later. Events come at least once; the unique key of deliveries makes it once.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import bounds
from events.ids import uuid7
from events.message import Event
from events.payments import PaymentFailed, PaymentRefunded
from events.receipts import ReceiptIssued, ReceiptVoided
from messaging.consumer import Message
from services.notifications.attributes import Attributes, attributes, is_storable
from services.notifications.tables import BODY_BYTES, EVENT_TYPE_CHARACTERS


class DoesNotFitError(Exception):
    """A required field that can't be stored; the text names it, and holds nothing of it."""


class Told(NamedTuple):
    """An event to tell of. A tuple, because a batch of them is turned into columns."""

    event_id: UUID
    event_type: str
    channel: str
    payer: str
    by_mail: bool
    body: bytes
    correlation_id: str | None
    traceparent: str | None


# LATERAL, so that each event costs two probes of primary keys: joined as sets, the planner, which knows nothing of
# unnest, may read all recipients instead.
_PLAN = text("""
    INSERT INTO deliveries
        (id, event_id, event_type, medium, recipient, channel, payer, body, correlation_id, traceparent)
    SELECT who.id, e.event_id, e.event_type, who.medium, who.recipient, e.channel, e.payer, e.body,
        e.correlation_id, e.traceparent
    FROM unnest(
        CAST(:webhook_ids AS uuid[]), CAST(:mail_ids AS uuid[]), CAST(:event_ids AS uuid[]),
        CAST(:event_types AS text[]), CAST(:channels AS text[]), CAST(:payers AS text[]),
        CAST(:by_mail AS boolean[]), CAST(:bodies AS bytea[]), CAST(:correlations AS text[]), CAST(:parents AS text[])
    ) AS e (webhook_id, mail_id, event_id, event_type, channel, payer, by_mail, body, correlation_id, traceparent)
    CROSS JOIN LATERAL (
        SELECT e.webhook_id AS id, 'webhook' AS medium, e.channel AS recipient
        FROM endpoints WHERE endpoints.channel = e.channel AND active
        UNION ALL
        SELECT e.mail_id, 'mail', e.payer
        FROM recipients r WHERE r.channel = e.channel AND r.payer = e.payer AND e.by_mail
    ) AS who
    ON CONFLICT (event_id, medium, recipient) DO NOTHING
""")


async def tell(connection: AsyncConnection, told: Sequence[Told]) -> int:
    """Plan the deliveries of these events in the caller's transaction, one statement; how many are new.

    Who has no row (a payer without an address, a channel without an endpoint) is not told, now or later.
    """
    if not told:
        return 0
    ids, types, channels, payers, by_mail, bodies, correlations, parents = zip(*told, strict=True)
    planned = await connection.execute(
        _PLAN,
        {
            "webhook_ids": [uuid7() for _ in told],
            "mail_ids": [uuid7() for _ in told],
            "event_ids": ids,
            "event_types": types,
            "channels": channels,
            "payers": payers,
            "by_mail": by_mail,
            "bodies": bodies,
            "correlations": correlations,
            "parents": parents,
        },
    )
    return int(planned.rowcount)


def is_for_the_payer(event: Event) -> bool:
    """Whether the payer gets a mail: one per happening.

    A success is told by its receipt, and a full refund tells that the receipt is void. What the payer is asked at the
    screen (a confirmation) or sees there (a balance) is the wallet app's to tell.
    """
    match event:
        case ReceiptIssued() | PaymentFailed() | PaymentRefunded():
            return True
        case ReceiptVoided(reason=reason):
            return reason != "refunded"
    return False


def told_of(message: Message) -> Told:
    """What there is to tell of one message. Raises DoesNotFitError for a required field that can't be
    stored."""
    event: Any = message.event  # every payment and receipt event names its channel and its payer
    optional = attributes(message)
    told = Told(
        message.id,
        message.type,
        event.channel,
        event.payer,
        is_for_the_payer(event),
        structured(message, optional),
        optional.correlation_id,
        optional.traceparent,
    )
    for name, value, most in (
        ("type", told.event_type, EVENT_TYPE_CHARACTERS),
        ("channel", told.channel, bounds.CHANNEL_ID),
        ("payer", told.payer, bounds.PAYER),
    ):
        if not is_storable(value, most):
            raise DoesNotFitError(f"{name}: at most {most} printable characters can be stored")
    if len(told.body) > BODY_BYTES:
        raise DoesNotFitError(f"body: at most {BODY_BYTES} bytes can be stored, with the envelope")
    return told


def structured(message: Message, optional: Attributes) -> bytes:
    """The event as one JSON object, CloudEvents 1.0 in structured mode. `data` is the record's value as it came, so
    that a field which we don't know yet reaches whoever does."""
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": str(message.id),
        "type": message.type,
        "source": optional.source,
        "subject": message.event.key,
        "time": optional.time,
        "datacontenttype": "application/json",
    }
    if optional.sequence:
        # A text, as the extension `sequence` is defined: compare it as a number.
        envelope["sequence"] = optional.sequence
    if optional.correlation_id:
        envelope["correlationid"] = optional.correlation_id
    if optional.traceparent:
        envelope["traceparent"] = optional.traceparent
    value = message.record.value
    assert value is not None
    return json.dumps(envelope, ensure_ascii=False).encode()[:-1] + b', "data": ' + value + b"}"

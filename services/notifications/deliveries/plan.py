"""Plan deliveries: a batch of events becomes rows, one for each event, medium and recipient.

Events arrive at least once; the unique key of deliveries makes that once.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import bounds
from events.ids import uuid7
from messaging.consumer import Message
from services.notifications.deliveries.attributes import Attributes, attributes, is_storable
from services.notifications.deliveries.tables import BODY_BYTES, EVENT_TYPE_CHARACTERS
from services.notifications.recipients.addresses import ENDPOINT_OF_EVENT, PAYER_OF_EVENT


class DoesNotFitError(Exception):
    """A required field cannot be stored; the text names the field without its content."""


class PlannedEvent(NamedTuple):
    """The common part of one event's deliveries. A tuple, because a batch of them is turned into columns."""

    event_id: UUID
    event_type: str
    channel: str
    payer: str
    by_mail: bool
    body: bytes
    correlation_id: str | None
    traceparent: str | None


# LATERAL, so that each event costs two probes of primary keys. In a plain join the planner, which has no statistics of
# unnest, may read all recipients instead.
_PLAN = text(f"""
    INSERT INTO deliveries
        (id, event_id, event_type, medium, recipient, channel, payer, body, correlation_id, traceparent)
    SELECT who.id, e.event_id, e.event_type, who.medium, who.recipient, e.channel, e.payer, e.body,
        e.correlation_id, e.traceparent
    FROM unnest(
        CAST(:webhook_ids AS uuid[]), CAST(:mail_ids AS uuid[]), CAST(:event_ids AS uuid[]),
        CAST(:event_types AS text[]), CAST(:channel_ids AS text[]), CAST(:payers AS text[]),
        CAST(:by_mail AS boolean[]), CAST(:bodies AS bytea[]), CAST(:correlations AS text[]), CAST(:parents AS text[])
    ) AS e (webhook_id, mail_id, event_id, event_type, channel, payer, by_mail, body, correlation_id, traceparent)
    CROSS JOIN LATERAL (
        SELECT e.webhook_id AS id, 'webhook' AS medium, e.channel AS recipient
        FROM {ENDPOINT_OF_EVENT}
        UNION ALL
        SELECT e.mail_id, 'mail', e.payer
        FROM {PAYER_OF_EVENT} AND e.by_mail
    ) AS who
    ON CONFLICT (event_id, medium, recipient) DO NOTHING
""")  # noqa: S608 - fixed words


async def plan(connection: AsyncConnection, events: Sequence[PlannedEvent]) -> int:
    """Insert the deliveries of these events in the caller's transaction, one statement; return how many are new.

    A recipient without a row (a payer without an address, a channel without an endpoint) gets no delivery, now or
    later.
    """
    if not events:
        return 0
    ids, types, channels, payers, by_mail, bodies, correlations, parents = zip(*events, strict=True)
    inserted = await connection.execute(
        _PLAN,
        {
            "webhook_ids": [uuid7() for _ in events],
            "mail_ids": [uuid7() for _ in events],
            "event_ids": ids,
            "event_types": types,
            "channel_ids": channels,
            "payers": payers,
            "by_mail": by_mail,
            "bodies": bodies,
            "correlations": correlations,
            "parents": parents,
        },
    )
    return int(inserted.rowcount)


def planned_event(message: Message, *, by_mail: bool) -> PlannedEvent:
    """Return the columns for one message. Raises DoesNotFitError for a required field that cannot be stored."""
    event: Any = message.event  # every payment and receipt event names its channel and its payer
    optional = attributes(message)
    planned = PlannedEvent(
        message.id,
        message.type,
        event.channel,
        event.payer,
        by_mail,
        structured(message, optional),
        optional.correlation_id,
        optional.traceparent,
    )
    for name, value, most in (
        ("type", planned.event_type, EVENT_TYPE_CHARACTERS),
        ("channel", planned.channel, bounds.CHANNEL_ID),
        ("payer", planned.payer, bounds.PAYER),
    ):
        if not is_storable(value, most):
            raise DoesNotFitError(f"{name}: at most {most} printable characters can be stored")
    if len(planned.body) > BODY_BYTES:
        raise DoesNotFitError(f"body: at most {BODY_BYTES} bytes can be stored, with the envelope")
    return planned


def structured(message: Message, optional: Attributes) -> bytes:
    """Return the event as one JSON object, CloudEvents 1.0 in structured mode. `data` is the record's value
    unchanged, so that fields unknown to this version reach the receiver, too.
    """
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
        # A text, as the extension `sequence` is defined; receivers compare it as a number.
        envelope["sequence"] = optional.sequence
    if optional.correlation_id:
        envelope["correlationid"] = optional.correlation_id
    if optional.traceparent:
        envelope["traceparent"] = optional.traceparent
    value = message.record.value
    assert value is not None
    return json.dumps(envelope, ensure_ascii=False).encode()[:-1] + b', "data": ' + value + b"}"

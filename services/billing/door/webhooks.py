"""The PSP's webhooks: verified, stored once, and used as a hint to call the PSP now.

Events arrive in any order and more than once, so their content is never trusted: the errand of the payment, refund or
top-up is made due, and the process that claims it calls the PSP for the state. For a subject that has ended an errand
is written (late/). The subject is identified by the event's object, not by its type.
"""

import time
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from chassis.http.problems import Problem
from chassis.http.route import engine_of
from events import bounds
from services.billing.docs_pages.problem_types import BAD_SIGNATURE
from services.billing.institutions import PSP
from services.billing.late import reports as late
from services.billing.psp import (
    BadSignature,
    intent_with_money,
    is_failed_refund,
    subject_in,
    verify_webhook,
)
from services.billing.subject import Kind, Subject

router = APIRouter(tags=["PSP"])

_KEEP = text("""
    INSERT INTO psp_webhooks (event_id, type, object_id) VALUES (:event_id, :type, :object_id)
    ON CONFLICT DO NOTHING RETURNING event_id
""")


@router.post("/v1/psp/webhooks", status_code=200, include_in_schema=False)
async def receive(request: Request) -> dict[str, str]:
    """Accept one webhook. A bad signature or an old time stamp is refused; a duplicate is answered like the first."""
    payload = await request.body()
    header = request.headers.get("stripe-signature", "")
    secret = request.app.state.settings.psp_webhook_secret.get_secret_value()
    try:
        event = verify_webhook(payload, header, secret, time.time())
    except BadSignature as error:
        raise Problem(BAD_SIGNATURE, str(error)) from error
    async with engine_of(request).begin() as connection:
        fresh = await keep(connection, event)
    return {"received": "now" if fresh else "before"}


async def keep(connection: AsyncConnection, event: dict[str, Any]) -> bool:
    """Store the event and make its subject's errand due; return False when it was stored before."""
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    thing = thing if isinstance(thing, dict) else {}
    kept = await connection.execute(
        _KEEP,
        {
            "event_id": event["id"],
            "type": bounds.storable(str(event.get("type", "")), bounds.PSP_ID),
            "object_id": bounds.storable(str(thing.get("id", "")), bounds.PSP_ID),
        },
    )
    if kept.first() is None:
        return False
    subject = _subject_of(thing.get("metadata"))
    if subject is None:
        return True
    intent_id = intent_with_money(thing)
    if intent_id and subject.kind != Kind.REFUND:
        await late.add_errand_for_reported_money(connection, subject, intent_id)
    elif is_failed_refund(thing):
        await late.add_errand_for_failed_refund(connection, subject)
    # An errand in a process's hand is left alone: the PSP's echo of our own calls must not cause a second call.
    await errands.make_due(connection, [subject, late.key_of(subject)], PSP)
    return True


def _subject_of(metadata: Any) -> Subject | None:
    # Other systems may move money on the same PSP account; it is not ours.
    if not isinstance(metadata, dict):
        return None
    found = subject_in(metadata, "refund_id", Kind.REFUND)
    return found or subject_in(metadata, "charge_id")

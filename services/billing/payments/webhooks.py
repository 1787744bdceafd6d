"""The PSP's webhooks: verified, kept once for ever, and taken as a hint to look now.

Events come duplicated and in any order, so none is believed: the payment or top-up is made due, and the timer asks
the PSP for its state.
"""

import time
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.problems import Problem
from services.billing.psp import BadSignature, verify_webhook

router = APIRouter(tags=["PSP"])

_KEEP = text("""
    INSERT INTO psp_webhooks (event_id, type, object_id) VALUES (:event_id, :type, :object_id)
    ON CONFLICT DO NOTHING RETURNING event_id
""")
_MAKE_DUE = [
    text(
        "UPDATE payments SET next_attempt_at = now() WHERE id = CAST(:id AS uuid) AND next_attempt_at > now()"
    ),
    text(
        "UPDATE top_ups SET next_attempt_at = now() WHERE id = CAST(:id AS uuid) AND next_attempt_at > now()"
    ),
    text(
        "UPDATE refunds SET next_attempt_at = now() WHERE id = CAST(:id AS uuid) AND next_attempt_at > now()"
    ),
]


@router.post("/v1/psp/webhooks", status_code=200, include_in_schema=False)
async def receive(request: Request) -> dict[str, str]:
    """Take one webhook. A bad signature or an old time stamp is refused; a duplicate is answered like the first."""
    payload = await request.body()
    header = request.headers.get("stripe-signature", "")
    secret = request.app.state.settings.psp_webhook_secret.get_secret_value()
    try:
        event = verify_webhook(payload, header, secret, time.time())
    except BadSignature as error:
        raise Problem(400, "bad-signature", "The signature does not hold", str(error)) from error
    engine: AsyncEngine = request.app.state.engine
    async with engine.begin() as connection:
        fresh = await keep(connection, event)
    return {"received": "now" if fresh else "before"}


async def keep(connection: AsyncConnection, event: dict[str, Any]) -> bool:
    """Keep the event and make what it is about due; False when it was kept before."""
    subject = event.get("data", {}).get("object", {})
    metadata = subject.get("metadata") or {}
    kept = await connection.execute(
        _KEEP,
        {
            "event_id": str(event["id"]),
            "type": str(event.get("type", "")),
            "object_id": str(subject.get("id", "")),
        },
    )
    if kept.first() is None:
        return False
    id = metadata.get("refund_id") or metadata.get("charge_id")
    if id:
        for statement in _MAKE_DUE:
            await connection.execute(statement, {"id": id})
    return True

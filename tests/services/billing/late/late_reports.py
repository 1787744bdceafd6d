"""Late reports of the PSP through its webhooks, and their effect in the ledger."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.door.webhooks import keep
from services.billing.subject import Kind, Subject
from tests.services.billing.payments.city import City

DECLINES = "pm_card_chargeDeclined"
CLEARING = "psp:stripe:clearing"
LATE = "suspense:late-captures"
FAILED = "suspense:failed-refunds"

_TRANSFERS = text("SELECT kind FROM transfers ORDER BY created_at, kind")
_ERRANDS = text("SELECT kind, leg FROM errands ORDER BY kind")


async def deliver_webhook(engine: AsyncEngine, type: str, thing: dict[str, Any]) -> None:
    """Deliver one webhook."""
    event = {"id": f"evt_{uuid4().hex}", "type": type, "data": {"object": thing}}
    async with engine.begin() as connection:
        assert await keep(connection, event)


async def report_intent(city: City, intent_id: str, **changes: object) -> None:
    """Deliver the webhook about an intent in its present state, or with these changes."""
    thing = city.psp.call("GET", f"/v1/payment_intents/{intent_id}")
    await deliver_webhook(city.engine, "payment_intent.succeeded", {**thing, **changes})


async def report_refund(city: City, psp_refund_id: str, type: str = "refund.failed") -> None:
    """Deliver the webhook about a refund in its present state."""
    await deliver_webhook(city.engine, type, city.psp.call("GET", f"/v1/refunds/{psp_refund_id}"))


async def transfer_kinds(engine: AsyncEngine) -> list[str]:
    """Return the kinds of all transfers."""
    async with engine.connect() as connection:
        return list(await connection.scalars(_TRANSFERS))


async def errands(engine: AsyncEngine) -> list[tuple[str, str]]:
    """Return the errands under way."""
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(_ERRANDS)]


async def case_note(engine: AsyncEngine, id: UUID) -> str:
    """Return the note of the one open case about this subject."""
    async with engine.connect() as connection:
        rows = await connection.scalars(
            text("SELECT note FROM cases WHERE subject = :id AND closed_at IS NULL"), {"id": id}
        )
        return str(rows.one())


def payment(id: UUID) -> Subject:
    return Subject(Kind.PAYMENT, id)

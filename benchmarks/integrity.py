"""What must be true after every measurement: counts, the auditor's invariants, and each event out as often as in."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.audit import audit_database

_COUNTS = text("""
    SELECT (SELECT count(*) FROM payments WHERE state = 'succeeded') AS payments,
        (SELECT count(*) FROM transfers WHERE kind = 'pay_bill') AS transfers,
        (SELECT count(*) FROM receipts) AS receipts,
        (SELECT sum(balance_minor) FROM ledger_accounts) AS balances,
        (SELECT sum(amount_minor) FROM transfers t WHERE kind = 'pay_bill') AS moved,
        (SELECT sum(balance_minor) FROM ledger_accounts WHERE address LIKE 'biller:%') AS owed
""")
_EVENTS = text("SELECT event_id FROM outbox WHERE topic = ANY(CAST(:topics AS smallint[]))")


async def books(engine: AsyncEngine, succeeded: int) -> list[str]:
    """What is wrong with the books, when this many payments have succeeded, ever; nothing, when they are right."""
    return await counts(engine, succeeded) + await audit(engine)


async def counts(engine: AsyncEngine, succeeded: int) -> list[str]:
    """What of it shows by counting and adding up."""
    async with engine.connect() as connection:
        found = (await connection.execute(_COUNTS)).one()
    complaints = [
        f"{getattr(found, name)} {name} instead of {succeeded}"
        for name in ("payments", "transfers", "receipts")
        if getattr(found, name) != succeeded
    ]
    if found.balances:
        complaints.append(f"all balances together are {found.balances}")
    if found.moved != found.owed:
        complaints.append(f"{found.moved} was paid and {found.owed} is owed to billers")
    return complaints


async def audit(engine: AsyncEngine) -> list[str]:
    """What the auditor finds, who looks at every payment; ten seconds for a million."""
    violations = await audit_database(engine)
    return [f"{each.invariant}: {each.subject} {each.what}" for each in violations[:5]]


async def events(engine: AsyncEngine, topics: Iterable[int], read: Iterable[bytes]) -> list[str]:
    """What is wrong with what came out of Kafka: `read` are the ids of the records, as their headers have them."""
    async with engine.connect() as connection:
        rows = await connection.execute(_EVENTS, {"topics": list(topics)})
        written = {str(id).encode() for id in rows.scalars()}
    consumed = list(read)
    once = set(consumed)
    wrong = {
        "events were written and never read": len(written - once),
        "events were read and never written": len(once - written),
        "events were read again": len(consumed) - len(once),
    }
    return [f"{count} {what}" for what, count in wrong.items() if count]

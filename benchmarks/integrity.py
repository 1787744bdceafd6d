"""Checks after every measurement: counts, the auditor's invariants, and each event published exactly once."""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.audit import audit_database

# There is exactly one of these for each payment that has succeeded.
OF_EACH_PAYMENT = ("payments_succeeded", "receipts", "pay_bill_transfers")
SHOWN = 5  # of all violations; the first ones show the fault
_COUNTS = text("""
    SELECT (SELECT count(*) FROM payments WHERE state = 'succeeded') AS payments_succeeded,
        (SELECT count(*) FROM payments WHERE state <> 'succeeded') AS payments_in_other_states,
        (SELECT count(*) FROM receipts) AS receipts,
        (SELECT count(*) FROM transfers WHERE kind = 'pay_bill') AS pay_bill_transfers,
        (SELECT count(*) FROM transfers WHERE kind = 'top_up') AS top_up_transfers,
        (SELECT count(*) FROM transfers) AS transfers
""")
_BALANCES = text("""
    SELECT (SELECT CAST(coalesce(sum(balance_minor), 0) AS bigint) FROM ledger_accounts) AS all_balances_minor,
        (SELECT CAST(coalesce(sum(balance_minor), 0) AS bigint) FROM ledger_accounts WHERE address LIKE 'biller:%')
            AS owed_to_billers_minor,
        (SELECT CAST(coalesce(sum(amount_minor), 0) AS bigint) FROM transfers WHERE kind = 'pay_bill') AS paid_minor
""")
_EVENTS = text("SELECT event_id FROM outbox WHERE topic = ANY(CAST(:topics AS smallint[]))")


async def books(engine: AsyncEngine, succeeded: int) -> list[str]:
    """Return the faults of the books; `succeeded` is the expected number of payments, past ones included."""
    return await counts(engine, succeeded) + await audit(engine)


async def counts(engine: AsyncEngine, succeeded: int) -> list[str]:
    """Return the faults that counting and adding up show, without the audit."""
    complaints = differences(await count(engine), dict.fromkeys(OF_EACH_PAYMENT, succeeded))
    balances = await add_up(engine)
    return complaints + differences(balances, balanced(balances))


async def audit(engine: AsyncEngine) -> list[str]:
    """Return the first few violations that the auditor finds."""
    return (await violations(engine))[:SHOWN]


async def violations(engine: AsyncEngine) -> list[str]:
    """Return all violations. The auditor reads every payment: ten seconds for a million."""
    return [
        f"{each.invariant}: {each.subject} {each.what}" for each in await audit_database(engine)
    ]


async def count(engine: AsyncEngine) -> dict[str, int]:
    """Count payments, receipts and transfers."""
    async with engine.connect() as connection:
        return dict((await connection.execute(_COUNTS)).one()._asdict())


async def add_up(engine: AsyncEngine) -> dict[str, int]:
    """Return the trial balance: the sum of all balances, the amount owed to billers, and the amount paid to them."""
    async with engine.connect() as connection:
        return dict((await connection.execute(_BALANCES)).one()._asdict())


def balanced(balances: Mapping[str, int]) -> dict[str, int]:
    """Return the values that a right trial balance has."""
    return {"all_balances_minor": 0, "owed_to_billers_minor": balances["paid_minor"]}


def differences(found: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Describe each number that differs from the expected one."""
    return [
        f"{found[name]:,} {name.replace('_', ' ')} instead of {number:,}"
        for name, number in expected.items()
        if found[name] != number
    ]


async def events(engine: AsyncEngine, topics: Iterable[int], read: Iterable[bytes]) -> list[str]:
    """Compare the outbox with the records in Kafka; `read` are the event ids in the headers of the records."""
    async with engine.connect() as connection:
        rows = await connection.execute(_EVENTS, {"topics": list(topics)})
        written = {str(id).encode() for id in rows.scalars()}
    consumed = list(read)
    distinct = set(consumed)
    faults = {
        "events were written and never read": len(written - distinct),
        "events were read and never written": len(distinct - written),
        "events were published more than once": len(consumed) - len(distinct),
    }
    return [f"{number} {fault}" for fault, number in faults.items() if number]

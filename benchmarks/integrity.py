"""What must be true after every measurement: counts, the auditor's invariants, and each event out as often as in."""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.audit import audit_database

# What there is one of for each payment that has succeeded.
OF_EACH_PAYMENT = ("payments_succeeded", "receipts", "pay_bill_transfers")
SHOWN = 5  # of all violations; the first ones tell what is wrong
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
    """What is wrong with the books, when this many payments have succeeded, ever; nothing, when they are right."""
    return await counts(engine, succeeded) + await audit(engine)


async def counts(engine: AsyncEngine, succeeded: int) -> list[str]:
    """What is wrong with the books as far as counting and adding up shows it."""
    complaints = differences(await count(engine), dict.fromkeys(OF_EACH_PAYMENT, succeeded))
    balances = await add_up(engine)
    return complaints + differences(balances, balanced(balances))


async def audit(engine: AsyncEngine) -> list[str]:
    """The first few violations that the auditor finds."""
    return (await violations(engine))[:SHOWN]


async def violations(engine: AsyncEngine) -> list[str]:
    """What the auditor finds, who looks at every payment; ten seconds for a million."""
    return [
        f"{each.invariant}: {each.subject} {each.what}" for each in await audit_database(engine)
    ]


async def count(engine: AsyncEngine) -> dict[str, int]:
    """How many payments, receipts and transfers there are."""
    async with engine.connect() as connection:
        return dict((await connection.execute(_COUNTS)).one()._asdict())


async def add_up(engine: AsyncEngine) -> dict[str, int]:
    """The trial balance: all balances together, what is owed to billers, and what was paid to them."""
    async with engine.connect() as connection:
        return dict((await connection.execute(_BALANCES)).one()._asdict())


def balanced(balances: Mapping[str, int]) -> dict[str, int]:
    """What a trial balance has to be."""
    return {"all_balances_minor": 0, "owed_to_billers_minor": balances["paid_minor"]}


def differences(found: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Each number that was found and is another than the one expected."""
    return [
        f"{found[name]:,} {name.replace('_', ' ')} instead of {number:,}"
        for name, number in expected.items()
        if found[name] != number
    ]


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
    return [f"{number} {what}" for what, number in wrong.items() if number]

"""A database from before kinds were part of identity: what is booked stays, and what is open ends as it should."""

import asyncio
from typing import Any
from uuid import UUID

from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import derived_id, uuid7
from migrations.apply import config_of
from services.billing import ledger
from services.billing.payments.read import read_open
from services.billing.subject import Kind, Subject
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.databases import Database
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

_REFUND = """
    INSERT INTO refunds (id, payment_id, amount_minor, request_hash, state, attempts, next_attempt_at, finished_at)
    VALUES (:id, :payment, 8850, '', :state, 1, CASE WHEN :state = 'accepted' THEN now() END,
        CASE WHEN :state = 'succeeded' THEN now() END)
"""
_TRANSFER = """
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, corrects, occurred_at)
    SELECT :id, :kind, t.credit_account, t.debit_account, t.amount_minor, 'CNY', :payment, now()
    FROM transfers t WHERE t.id = :payment
"""

_STATEMENT = """
    INSERT INTO statements (source, source_id, day, version, content_hash, lines, totals)
    VALUES ('psp', 'stripe', '2026-11-23', 1, '', 5, '{}')
"""
_LINE = """
    INSERT INTO statement_lines (statement_id, kind, reference, our_id, amount_minor, currency, occurred_at, raw)
    SELECT s.id, :kind, :reference, CAST(:our_id AS uuid), 1, 'CNY', now(), '{}' FROM statements s
"""


async def before(database: Database, revision: str = "0009") -> None:
    await asyncio.to_thread(command.downgrade, config_of("billing", database.owner_url), revision)


async def after(database: Database, *engines: AsyncEngine) -> None:
    await asyncio.to_thread(command.upgrade, config_of("billing", database.owner_url), "head")
    for engine in engines:
        await engine.dispose()


async def run(engine: AsyncEngine, statement: str, **values: Any) -> list[Any]:
    async with engine.begin() as connection:
        found = await connection.execute(text(statement), values)
        return list(found) if found.returns_rows else []


async def paid(city: City) -> UUID:
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert row["state"] == "succeeded"
    id: UUID = row["id"]
    return id


async def test_a_refund_that_could_never_be_booked_is_booked(
    city: City, database: Database, owner_engine: AsyncEngine
) -> None:
    """Its id is its payment's. Mark and money went back, and we never booked it."""
    id = await paid(city)
    await before(database)
    await run(owner_engine, _REFUND, id=id, payment=id, state="accepted")
    await run(owner_engine, "UPDATE payments SET refund_pending_minor = 8850 WHERE id = :id", id=id)
    connector = await city.connectors.of("north-power")
    await connector.unapply(await books.application(city.engine, id))
    intent_id = (await run(owner_engine, "SELECT psp_intent_id FROM payments"))[0][0]
    city.psp.http.post(
        "/v1/refunds",
        data={"payment_intent": intent_id, "amount": "8850", "metadata[refund_id]": str(id)},
        headers={
            "Authorization": f"Bearer {city.psp.api_key}",
            "Idempotency-Key": f"{id}:refund",
        },
    ).raise_for_status()
    await after(database, city.engine, owner_engine)
    await city.settle()
    row = await books.refund(city.engine, id)
    assert (row["state"], row["transfer_id"]) == ("succeeded", derived_id("refund", id))
    assert (await books.payment(city.engine, id))["state"] == "refunded"
    assert city.given_back_minor(id) == 8_850
    await city.agree(id)


async def test_what_is_booked_keeps_its_transfer_and_what_is_open_its_key(
    city: City, database: Database, owner_engine: AsyncEngine
) -> None:
    id = await paid(city)
    open_payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    top_up = top_up_wallet()
    await city.payments.top_up([top_up])
    await city.payments.drain()
    await before(database)
    booked = uuid7()
    await run(owner_engine, _REFUND, id=booked, payment=id, state="succeeded")
    await run(owner_engine, _TRANSFER, id=booked, kind="refund", payment=id)
    await run(
        owner_engine,
        "INSERT INTO cases (subject, kind, note) VALUES (:refund, 'refund', 'n'), (:payment, 'void', 'n')",
        refund=booked,
        payment=id,
    )
    await after(database, city.engine, owner_engine)
    assert (await books.refund(city.engine, booked))["transfer_id"] == booked
    kinds = await run(owner_engine, "SELECT subject_kind, kind FROM cases ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("refund", "refund"), ("payment", "void")]
    calls = await run(
        owner_engine, "SELECT DISTINCT leg, subject_kind FROM outside_calls ORDER BY leg"
    )
    assert [tuple(row) for row in calls] == [
        ("apply", "payment"),
        ("authorize", "payment"),
        ("capture", "payment"),
        ("charge", "top_up"),
    ]
    async with city.engine.begin() as connection:
        [found] = await read_open(connection, [open_payment.errand])
    assert found.charge.former_key
    fresh = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    assert not fresh.charge.former_key
    await city.settle()
    assert (await books.payment(city.engine, open_payment.id))["state"] == "succeeded"
    assert city.charged_minor(open_payment.id) == 8_850


async def test_the_database_derives_ids_as_we_do(
    city: City, database: Database, owner_engine: AsyncEngine
) -> None:
    id = await paid(city)
    await before(database)
    open_ones = [uuid7() for _ in range(50)]
    for each in open_ones:
        await run(owner_engine, _REFUND, id=each, payment=id, state="accepted")
    await after(database, owner_engine)
    rows = await run(owner_engine, "SELECT id, transfer_id FROM refunds")
    assert {row.id: row.transfer_id for row in rows} == {
        each: derived_id("refund", each) for each in open_ones
    }
    assert all(row.transfer_id.version == 8 for row in rows)


async def test_a_promise_that_was_never_accepted_ends(
    engine: AsyncEngine, database: Database, owner_engine: AsyncEngine
) -> None:
    """Those of the last day may still wait in Kafka; what another channel has under the id is none of it."""
    for channel in (CHANNEL, "other-app"):
        await fund_wallet(engine, 10, channel=channel)
    topped_up, theirs = [
        row.id for row in await run(engine, "SELECT id FROM top_ups ORDER BY channel_id")
    ]
    await before(database, "0012")
    lost, young = uuid7(), uuid7()
    for id, kind, hours in (
        (topped_up, "top_up", 30),
        (theirs, "top_up", 30),
        (lost, "payment", 30),
        (young, "refund", 20),
    ):
        await run(
            owner_engine,
            """
            INSERT INTO payment_requests (id, kind, channel_id, payer, amount_minor, currency, created_at)
            VALUES (:id, :kind, :channel, 'p', 10, 'CNY', now() - :hours * interval '1 hour')
            """,
            id=id,
            kind=kind,
            channel=CHANNEL,
            hours=hours,
        )
    await after(database, engine, owner_engine)
    rows = await run(engine, "SELECT id, reason FROM payment_requests WHERE failed_at IS NOT NULL")
    assert {row.id: row.reason for row in rows} == {
        lost: "not_accepted",
        theirs: "not_accepted",
    }


async def test_lines_of_failed_refunds_name_the_transfer_that_books_the_failure(
    city: City, database: Database, owner_engine: AsyncEngine
) -> None:
    """And a refund that nobody asks for any more is asked for again by the version before."""
    id = await paid(city)
    requested = refund_payment(id)
    city.psp.add_fault("refund", "refuse")
    await city.payments.refund([requested])
    await city.payments.drain()
    refund = Subject(Kind.REFUND, requested.command.refund_id)
    await before(database, "0014")
    errands = await run(owner_engine, "SELECT kind, subject, leg, contested FROM errands")
    assert [tuple(row) for row in errands] == [("refund", refund.id, "refund", True)]
    await run(owner_engine, _STATEMENT)
    for kind, reference, our_id in (
        ("refund_failure", refund.id, derived_id("refund", refund.id)),
        ("refund", id, None),
        ("refund_failure", id, None),
        ("other", id, None),
        ("refund", "txn_1", None),
    ):
        values = {"kind": kind, "reference": str(reference), "our_id": our_id}
        await run(owner_engine, _LINE, **values)
    await after(database, city.engine, owner_engine)
    rows = await run(owner_engine, "SELECT our_id FROM statement_lines ORDER BY id")
    payment = Subject(Kind.PAYMENT, id)
    assert [row.our_id for row in rows] == [
        ledger.refund_returned_id(refund),
        ledger.late_return_id(payment),
        ledger.refund_returned_id(payment),
        None,
        None,
    ]

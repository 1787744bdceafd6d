"""Payments of claimed errands: as this process accepted them, or as they are in the table."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking, Institutions, Remembered, remembered
from errands.queue import claim
from services.billing.institutions import PSP
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept
from services.billing.payments.model import Payment
from services.billing.payments.read import read_claimed
from tests.support.errands import PayingProcess
from tests.support.factories import make_bill, make_biller, pay_bill

KINDS = ["payment"]


async def waiting(engine: AsyncEngine) -> Payment:
    """A payment that was accepted and found no place, as its process has it."""
    await make_biller(engine)
    full = Institutions()
    full.of(PSP).rows_wait = True
    command = pay_bill(await make_bill(engine), method="pm_card_visa").command
    traced = Instruction(command, traceparent="00-1-2-01")
    async with engine.begin() as connection:
        accepted = await accept(connection, [traced], Booking(full))
    assert accepted.held == []
    [payment] = accepted.waiting
    return payment


async def claimed(engine: AsyncEngine, kept: Remembered[Payment]) -> Payment:
    async with engine.begin() as connection:
        found = await claim(connection, {PSP: 10}, 0.0, KINDS)
        [payment] = await read_claimed(kept, connection, found)
    return payment


async def test_what_this_process_has_accepted_keeps_its_trace(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    kept, payment = Remembered[Payment](), await waiting(engine)
    kept.keep([payment])
    first = await claimed(engine, kept)
    assert (first.id, first.traceparent, first.errand.fence) == (payment.id, "00-1-2-01", 1)
    # Its lease of no seconds is over: another process may have changed the payment.
    kept.keep([payment])
    second = await claimed(engine, kept)
    assert (second.id, second.traceparent, second.errand.fence) == (payment.id, None, 2)
    assert second.errand.contested


async def test_of_too_many_the_oldest_are_read_from_the_table(
    engine: AsyncEngine, payments: PayingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "MOST_REMEMBERED", 1)
    kept, payment = Remembered[Payment](), await waiting(engine)
    kept.keep([payment])
    other = payment.errand._replace(subject=payment.bill.id)
    kept.keep([payment._replace(id=other.subject, errand=other)])
    assert (await claimed(engine, kept)).traceparent is None

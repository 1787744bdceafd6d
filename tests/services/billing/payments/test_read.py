"""Payments of claimed errands: as this process accepted them, or as they are in the table."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking, Institutions, UnclaimedCache, unclaimed_cache
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


async def claimed(engine: AsyncEngine, cache: UnclaimedCache[Payment]) -> Payment:
    async with engine.begin() as connection:
        found = await claim(connection, {PSP: 10}, 0.0, KINDS)
        [payment] = await read_claimed(cache, connection, found)
    return payment


async def test_payments_accepted_by_this_process_keep_their_trace(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    cache, payment = UnclaimedCache[Payment](), await waiting(engine)
    cache.add([payment])
    first = await claimed(engine, cache)
    assert (first.id, first.traceparent, first.errand.fence) == (payment.id, "00-1-2-01", 1)
    # Its lease of no seconds is over: another process may have changed the payment.
    cache.add([payment])
    second = await claimed(engine, cache)
    assert (second.id, second.traceparent, second.errand.fence) == (payment.id, None, 2)
    assert second.errand.contested


async def test_the_oldest_payments_above_the_cache_limit_are_read_from_the_table(
    engine: AsyncEngine, payments: PayingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unclaimed_cache, "MOST_UNCLAIMED", 1)
    cache, payment = UnclaimedCache[Payment](), await waiting(engine)
    cache.add([payment])
    other = payment.errand._replace(subject=payment.bill.id)
    cache.add([payment._replace(id=other.subject, errand=other)])
    assert (await claimed(engine, cache)).traceparent is None

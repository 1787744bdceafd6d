"""A day with thousands of lines and every kind of fault in it: all are found, nothing else is, and again the same."""

import random
import time
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing.audit import audit
from services.billing.payments.model import serial_of
from services.billing.reconciliation import reconcile
from services.billing.reconciliation.lines import Line
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, NOON, WATER, apply, charge, unapply

Broken = Counter[tuple[str, str, str]]
EACH = 25  # of each kind of fault


class Day:
    """The books, both statements, and the expected breaks."""

    def __init__(self) -> None:
        self.psp: list[Line] = []
        self.biller: list[Line] = []
        self.broken: Broken = Counter()

    def good(self, id: UUID, amount: int) -> None:
        self.psp.append(charge(id, amount))
        self.biller.append(apply(id, amount))

    def breaks(self, type: str, kind: str, reference: str) -> None:
        self.broken[type, kind, reference] += 1


async def plant(engine: AsyncEngine, chance: random.Random, good: int) -> Day:
    """A day with `good` payments that agree, and `EACH` of every kind of fault."""
    day = Day()
    amounts = [chance.randrange(100, 90_000) for _ in range(good)]
    for id, amount in zip(await books.pay(engine, amounts), amounts, strict=True):
        day.good(id, amount)
    await plant_psp_faults(engine, day)
    await plant_biller_faults(engine, day)
    await plant_what_only_looks_broken(engine, day)
    chance.shuffle(day.psp)
    chance.shuffle(day.biller)
    return day


async def plant_psp_faults(engine: AsyncEngine, day: Day) -> None:
    """Lacking, unknown, other amount, other currency, twice; a refund that we lack, one that failed later."""
    for id in await books.pay(engine, [700] * EACH):
        day.biller.append(apply(id, 700))
        day.breaks("missing_external", "charge", str(id))
    for _ in range(EACH):
        id = uuid7()
        day.psp.append(charge(id, 800))
        day.breaks("missing_internal", "charge", str(id))
    for id in await books.pay(engine, [900] * EACH):
        day.psp.append(charge(id, 901))
        day.biller.append(apply(id, 900))
        day.breaks("amount", "charge", str(id))
    for id in await books.pay(engine, [950] * EACH):
        day.psp.append(charge(id, 950, currency="HKD"))
        day.biller.append(apply(id, 950))
        day.breaks("currency", "charge", str(id))
    for id in await books.pay(engine, [600] * EACH):
        day.good(id, 600)
        day.psp.append(charge(id, 600))
        day.breaks("duplicate", "charge", str(id))
    for id in await books.pay(engine, [500] * EACH):
        day.good(id, 500)
        refund = await books.refund(engine, id, 200)
        day.psp.append(books.refund_line(refund, 200))
        day.psp.append(Line("refund_failure", str(refund), refund, 200, "CNY", NOON, {"id": "txn"}))
        day.breaks("missing_internal", "refund_failure", str(refund))
    for _ in range(EACH):
        refund = uuid7()
        day.psp.append(books.refund_line(refund, 40))
        day.breaks("missing_internal", "refund", str(refund))


async def plant_biller_faults(engine: AsyncEngine, day: Day) -> None:
    """Lacking, unknown, a serial that is not ours, other amount, twice; unapplied by itself, not unapplied at all."""
    for id in await books.pay(engine, [700] * EACH):
        day.psp.append(charge(id, 700))
        day.breaks("missing_external", "apply", serial_of(id))
    for number in range(EACH):
        id = uuid7()
        day.biller.append(apply(id, 800))
        day.breaks("missing_internal", "apply", serial_of(id))
        strange = f"NOT-OURS-{number}"
        day.biller.append(Line("apply", strange, None, 5, "CNY", NOON, {"bill_number": "B"}))
        day.breaks("missing_internal", "apply", strange)
    for id in await books.pay(engine, [900] * EACH):
        day.psp.append(charge(id, 900))
        day.biller.append(apply(id, 90_000))
        day.breaks("amount", "apply", serial_of(id))
    for id in await books.pay(engine, [600] * EACH):
        day.good(id, 600)
        day.biller.append(apply(id, 600))
        day.breaks("duplicate", "apply", serial_of(id))
    for id in await books.pay(engine, [500] * EACH):
        day.good(id, 500)
        day.biller.append(unapply(id, 500))
        day.breaks("missing_internal", "unapply", serial_of(id))
    for id in await books.pay(engine, [400] * EACH):
        day.good(id, 400)
        day.psp.append(books.refund_line(await books.refund(engine, id, 400), 400))
        day.breaks("missing_external", "unapply", serial_of(id))


async def plant_what_only_looks_broken(engine: AsyncEngine, day: Day) -> None:
    """Partial refunds, completed in two parts, voided after the apply, a refund that never came to be, midnight."""
    for id in await books.pay(engine, [500] * EACH):
        day.good(id, 500)
        day.psp.append(books.refund_line(await books.refund(engine, id, 200), 200))
    for id in await books.pay(engine, [500] * EACH):
        day.good(id, 500)
        for part in (200, 300):
            day.psp.append(books.refund_line(await books.refund(engine, id, part), part))
        day.biller.append(unapply(id, 500))
    for id in await books.pay(engine, [500] * EACH, state="voided"):
        day.biller += [apply(id, 500), unapply(id, 500)]
    for _ in range(EACH):
        refund = uuid7()
        failure = Line("refund_failure", str(refund), refund, 40, "CNY", NOON, {"id": "txn"})
        day.psp += [books.refund_line(refund, 40), failure]
    for id in await books.pay(engine, [500] * EACH, at=books.just_after_midnight()):
        day.good(id, 500)


async def test_every_planted_fault_is_a_break_and_nothing_else_is(engine: AsyncEngine) -> None:
    day = await plant(engine, random.Random(23), good=2_500)
    assert len({(type, kind) for type, kind, _ in day.broken}) >= 12
    await books.keep(engine, day.psp)
    await books.keep(engine, day.biller, source=WATER)
    first = await reconcile(engine, DAY)
    assert Counter(await books.open_breaks(engine)) == day.broken
    before = await books.everything(engine)
    assert await reconcile(engine, DAY) == first
    assert await books.everything(engine) == before, "a second run changes nothing at all"
    # The other day sees the same books from its own side: nothing more is found, nothing resolved.
    await books.keep(engine, [], day=DAY + timedelta(days=1))
    await books.keep(engine, [], source=WATER, day=DAY + timedelta(days=1))
    await reconcile(engine, DAY + timedelta(days=1))
    assert Counter(await books.open_breaks(engine)) == day.broken
    async with engine.connect() as connection:
        assert await audit(connection) == [], "reconciling moves no money and breaks no invariant"


@pytest.mark.alone
async def test_a_large_day_takes_seconds(engine: AsyncEngine) -> None:
    """20,000 payments in both books; measured at 100,000 it grows in proportion."""
    count = 20_000
    ids = []
    for _ in range(4):
        ids += await books.pay(engine, [100] * (count // 4))
    began = time.monotonic()
    await books.keep(engine, [charge(id, 100) for id in ids])
    await books.keep(engine, [apply(id, 100) for id in ids], source=WATER)
    found = await reconcile(engine, DAY)
    took = time.monotonic() - began
    assert found.agrees
    assert [each.matched for each in found.sources] == [count, count]
    assert took < 30

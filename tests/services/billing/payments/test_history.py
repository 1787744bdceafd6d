"""Random histories of commands, refusals, repetitions, interruptions and resumptions: the books are right after each
step, and in the end those of the PSP, the billers and ours agree."""

import asyncio
import random
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from events.payments import PayBill, RefundPayment, TopUpWallet
from services.billing.audit import audit
from services.billing.database import connect
from services.billing.instruction import Instruction
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, BY_FILE, City, city_between
from tests.support.billers import SandboxBillers
from tests.support.databases import Database
from tests.support.errands import PayingProcess
from tests.support.factories import (
    fund_wallet,
    pay_bill,
    refund_payment,
    top_up_wallet,
)
from tests.support.psp import SandboxPsp

ASKS = "pm_card_authenticationRequired"
METHODS = (None, None, "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", ASKS)
# Each answers at once, so that a history takes a second; what hangs is tested call by call elsewhere.
PSP_FAULTS = [
    (operation, kind)
    for operation in ("authorize", "capture", "void", "refund", "charge", "retrieve")
    for kind in ("error_500_after", "reset_after", "truncate", "wrong_amount")
] + [("capture", "refuse"), ("authorize", "refuse")]
BILLER_FAULTS = [
    (operation, kind)
    for operation in ("apply", "query", "unapply")
    for kind in ("down", "error_500_after", "reset_after", "garbage", "wrong_echo")
] + [("apply", "refuse"), ("unapply", "refuse")]
STEPS = [*("pay",) * 3, *("refund",) * 2, "top_up", "repeat", "reuse", "decide", "resume", "drain"]
STEPS += [*("psp_fault",) * 2, *("biller_fault",) * 2, "die", "race"]

Step = tuple[str, int]


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**32)), min_size=12, max_size=30))
def test_random_histories(
    database: Database,
    psp: SandboxPsp,
    billers: SandboxBillers,
    tmp_path: Path,
    steps: list[Step],
) -> None:
    asyncio.run(live_through(database, psp, billers, tmp_path, steps))


async def live_through(
    database: Database,
    psp: SandboxPsp,
    billers: SandboxBillers,
    folder: Path,
    steps: list[Step],
) -> None:
    engine, owner = connect(database.billing_url, pool_size=16), connect(database.owner_url)
    try:
        async with city_between(engine, owner, psp, billers, folder, timeout_seconds=2.0) as city:
            history = History(city)
            for name, seed in steps:
                await getattr(history, name)(random.Random(seed))
                await books.audit(engine)
            psp.clear_faults()
            billers.clear_faults()
            await history.come_to_an_end()
    finally:
        await engine.dispose()
        await owner.dispose()


class History:
    """The requests so far, and the possible steps. Each step has its own random numbers."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.bills: list[UUID] = []
        self.pays: list[Instruction[PayBill]] = []
        self.refunds: list[Instruction[RefundPayment]] = []
        self.top_ups: list[Instruction[TopUpWallet]] = []

    async def pay(self, dice: random.Random) -> None:
        if not self.bills or dice.random() < 0.7:
            self.bills.append(await self.city.bill(dice.choice([BILLER, BY_FILE])))
        if dice.random() < 0.6:
            await fund_wallet(self.city.engine, 5_000)
        batch = [
            pay_bill(dice.choice(self.bills), method=dice.choice(METHODS))
            for _ in range(dice.randint(1, 3))
        ]
        self.pays += batch
        assert await self.city.payments.pay(batch) == []

    async def repeat(self, dice: random.Random) -> None:
        if self.pays:
            assert await self.city.payments.pay(dice.choices(self.pays, k=3)) == []
        if self.refunds:
            assert await self.city.payments.refund(dice.choices(self.refunds, k=2)) == {}
        if self.top_ups:
            assert await self.city.payments.top_up(dice.choices(self.top_ups, k=2)) == []

    async def reuse(self, dice: random.Random) -> None:
        if self.pays:
            id = dice.choice(self.pays).command.payment_id
            other = pay_bill(dice.choice(self.bills), payment_id=id, payer="somebody-else")
            assert await self.city.payments.pay([other]) == [0]

    async def refund(self, dice: random.Random) -> None:
        if self.pays:
            id = dice.choice(self.pays).command.payment_id
            batch = [
                refund_payment(id, dice.choice([None, 1, 4_000, 8_850]))
                for _ in range(dice.randint(1, 3))
            ]
            self.refunds += batch
            assert await self.city.payments.refund(batch) == {}

    async def top_up(self, dice: random.Random) -> None:
        method = dice.choice(["pm_card_visa", "pm_card_chargeDeclined", ASKS])
        self.top_ups.append(top_up_wallet(9_000, method=method))
        assert await self.city.payments.top_up(self.top_ups[-1:]) == []

    async def decide(self, dice: random.Random) -> None:
        for url in await self.pages():
            self.city.psp.decide(url, dice.choice(["approve", "approve", "refuse"]))

    async def resume(self, _: random.Random) -> None:
        await self.city.make_due()
        await self.city.payments.resume()

    async def psp_fault(self, dice: random.Random) -> None:
        self.city.psp.add_fault(*dice.choice(PSP_FAULTS))

    async def biller_fault(self, dice: random.Random) -> None:
        self.city.billers.add_fault(BILLER, *dice.choice(BILLER_FAULTS))

    async def die(self, dice: random.Random) -> None:
        # In the middle of whatever it has in hand.
        await asyncio.sleep(dice.random() * 0.03)
        await self.city.payments.aclose()
        self.city.new_process()

    async def race(self, _: random.Random) -> None:
        # Another timer takes up what this process still has in hand.
        other = PayingProcess(self.city.engine, self.city.client, self.city.connectors)
        await self.city.make_due()
        await other.resume()
        await other.drain()
        await other.aclose()

    async def drain(self, _: random.Random) -> None:
        await self.city.payments.drain()

    async def come_to_an_end(self) -> None:
        """Everybody is well and answers: what is open ends, and all books agree."""
        for _ in range(3):
            await self.city.settle(rounds=6)
            for url in await self.pages():
                self.city.psp.decide(url, "approve")
        left = await self.city.settle()
        assert left < 12 or not await self.without_case()
        for each in self.pays:
            await self.city.agree(each.command.payment_id)
        for top_up in self.top_ups:
            row = await books.top_up(self.city.engine, top_up.command.top_up_id)
            taken = 9_000 if row["state"] == "succeeded" else 0
            assert self.city.charged_minor(row["id"]) == taken
        async with self.city.engine.connect() as connection:
            found = await audit(connection)
            # There is no relay here that publishes.
            assert [each for each in found if each.invariant != "events_published_in_time"] == []

    async def pages(self) -> list[str]:
        async with self.city.engine.connect() as connection:
            found = await connection.execute(
                text("""
                    SELECT action_url FROM payments WHERE action_url IS NOT NULL
                    UNION ALL SELECT action_url FROM top_ups WHERE action_url IS NOT NULL
                """)
            )
            return list(found.scalars())

    async def without_case(self) -> list[UUID]:
        async with self.city.engine.connect() as connection:
            found = await connection.execute(
                text("""
                    SELECT subject FROM errands e
                    WHERE NOT EXISTS (SELECT FROM cases c WHERE c.subject = e.subject AND c.closed_at IS NULL)
                """)
            )
            return list(found.scalars())

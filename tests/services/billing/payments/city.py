"""A paying process between the sandbox's PSP and billers: it pays, dies and resumes; the books are compared."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking, Institutions
from errands.queue import claim
from events.payments import PayBill
from services.billing.bills.connectors import Connectors
from services.billing.institutions import LEDGER, PSP, of_biller
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept
from services.billing.payments.legs import Legs
from services.billing.payments.model import Payment, Progress, serial_of
from services.billing.payments.read import read_open
from services.billing.payments.record import record
from services.billing.psp import Psp
from services.billing.refunds.legs import RefundLegs
from services.billing.refunds.model import Refund, RefundProgress
from services.billing.settings import Settings
from services.billing.top_ups.legs import TopUpLegs
from services.billing.top_ups.model import TopUp, TopUpProgress
from tests.services.billing.payments import books
from tests.support.billers import SandboxBillers
from tests.support.errands import PayingProcess, errand_run, institutions
from tests.support.factories import make_bill, make_biller, make_channel
from tests.support.psp import Clock, SandboxPsp

BILLER = "north-power"
BY_FILE = "lz-water"

# As a process claims that has many places.
EVERYWHERE = dict.fromkeys((PSP, LEDGER, of_biller(BILLER)), 200)
# Let the time pass until everything is due.
_PASS_TIME = text("""
    UPDATE errands SET due_at = now(), sent_at = sent_at - greatest(due_at - now(), interval '0'),
        leg_since = leg_since - greatest(due_at - now(), interval '0')
""")
_UNDONE_WITH_LOST_VOID = text(
    "UPDATE payments SET state = :state, reason = :reason, psp_intent_id = :intent WHERE id = :id"
)
_VOIDING = text("""
    UPDATE errands SET leg = 'void', unknown_since = now(), sent_at = now(), held = false WHERE subject = :id
""")
_AGE = text("""
    UPDATE errands SET unknown_since = unknown_since - CAST(:by AS interval),
        sent_at = sent_at - CAST(:by AS interval), leg_since = leg_since - CAST(:by AS interval) WHERE subject = :id
""")


def settings(data_dir: Path, biller_secrets: Path | None = None) -> Settings:
    """Return the settings for the connectors."""
    return Settings(
        database_url=SecretStr(""), data_dir=data_dir, biller_secrets=biller_secrets, _env_file=None
    )


@asynccontextmanager
async def city_between(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    psp: SandboxPsp,
    billers: SandboxBillers,
    data_dir: Path,
    *,
    timeout_seconds: float = 0.6,
) -> AsyncIterator["City"]:
    """The process, whose connections are closed in the end, as the faults are. Its clock stands still."""
    await make_channel(engine)
    clock = Clock()
    client = psp.client(timeout_seconds=timeout_seconds, clock=clock)
    at = institutions(timeout_seconds)
    connectors = Connectors(engine, settings(data_dir, billers.secrets_path), at)
    city = City(engine, owner_engine, psp, billers, client, clock, connectors, at)
    try:
        yield city
    finally:
        psp.clear_faults()
        billers.clear_faults()
        await city.aclose()
        await connectors.aclose()
        await client.aclose()


class City:
    """`payments` is the process; the PSP's and the billers' books are read from their control endpoints."""

    def __init__(  # noqa: PLR0917
        self,
        engine: AsyncEngine,
        owner_engine: AsyncEngine,
        psp: SandboxPsp,
        billers: SandboxBillers,
        client: Psp,
        clock: Clock,
        connectors: Connectors,
        at: Institutions,
    ) -> None:
        self.engine = engine
        self.psp = psp
        self.billers = billers
        self.client = client
        self.clock = clock
        self.connectors = connectors
        self.institutions = at
        self.payments = PayingProcess(engine, client, connectors, at)
        self.legs = Legs(client, connectors)
        self._owner_engine = owner_engine
        self._used: set[str] = set()

    async def bill(self, biller: str = BILLER, amount_minor: int = 8_850) -> UUID:
        """A fresh bill at a biller of the sandbox, as a lookup would have stored it."""
        row = next(each for each in self.billers.rows if each.get("id") == biller)
        connector = row["connector"]
        await make_biller(
            self.engine,
            biller,
            settled_by=row["settled_by"],
            dialect=connector["dialect"],
            url=connector.get("url", ""),
            timeout_ms=400,
        )
        account = self.billers.accounts(biller, limit=1, owing=None)[0]
        number = self.billers.issue_bill(biller, account, amount_minor)
        return await make_bill(
            self.engine,
            biller,
            account_number=account,
            bill_number=number,
            amount_minor=amount_minor,
            rule="any",
        )

    async def accept(self, instruction: Instruction[PayBill]) -> Payment:
        """Accept a payment as a worker that dies before its first external call; return the payment with its errand."""
        async with self.engine.begin() as connection:
            accepted = await accept(connection, [instruction], Booking(institutions()))
        return accepted.held[0]

    async def pay(self, instruction: Instruction[PayBill]) -> dict[str, Any]:
        """Pay, wait for the first attempt, and return the payment's row."""
        await self.payments.pay([instruction])
        await self.payments.drain()
        return await books.payment(self.engine, instruction.command.payment_id)

    async def settle(self, rounds: int = 12) -> int:
        """Claim until nothing is open; how many rounds it took. The waits are made due, so nothing sleeps."""
        for round in range(rounds):
            await self.payments.drain()
            if not await self.make_due():
                return round
            await self.payments.resume()
        await self.payments.drain()
        return rounds

    async def make_due(self) -> int:
        """Let the time pass until the next attempts; how much is open."""
        async with self.engine.begin() as connection:
            due = await connection.execute(_PASS_TIME)
            return int(due.rowcount)

    async def age(self, table: str, id: UUID, by: timedelta) -> None:
        """Make it older than it is."""
        async with self._owner_engine.begin() as connection:
            await connection.execute(
                text(
                    f"UPDATE {table} SET created_at = created_at - CAST(:by AS interval) WHERE id = :id"
                ),
                {"id": id, "by": by},
            )
            await connection.execute(_AGE, {"id": id, "by": by})

    async def run_as_owner(self, statement: str, **values: Any) -> None:
        """Change what the application may not."""
        async with self._owner_engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def take_up(self, id: UUID) -> Payment:
        """Return the payment as a timer that claims it now reads it."""
        await self.make_due()
        async with self.engine.begin() as connection:
            claimed = await read_open(connection, await claim(connection, EVERYWHERE, 60.0))
        return next(each for each in claimed if each.id == id)

    async def run_and_die(self, id: UUID) -> None:
        """Claim the payment, make its external calls, and die before recording the results."""
        await self.run(await self.take_up(id))

    async def run_and_record(self, payment: Payment) -> int:
        """Make the external calls and record the result, as the runner does."""
        progress = await self.run(payment)
        async with self.engine.begin() as connection:
            return await record(connection, [progress])

    async def run(self, payment: Payment) -> Progress:
        """Make the external calls and record nothing."""
        mine = errand_run(payment.errand, self.institutions)
        try:
            return await self.legs.run(payment, mine)
        finally:
            mine.leave()

    async def run_refund(self, refund: Refund) -> RefundProgress:
        """Make the external calls and record nothing."""
        mine = errand_run(refund.errand, self.institutions)
        try:
            return await RefundLegs(self.client, self.connectors).run(refund, mine)
        finally:
            mine.leave()

    async def run_top_up(self, top_up: TopUp) -> TopUpProgress:
        """Make the external calls and record nothing."""
        mine = errand_run(top_up.errand, self.institutions)
        try:
            return await TopUpLegs(self.client).run(top_up, mine)
        finally:
            mine.leave()

    async def undo_with_lost_void(
        self,
        payment: Payment,
        intent_id: str,
        *,
        reason: str = "biller_refused",
        state: str = "accepted",
    ) -> None:
        """Leave the payment as a process does that undid it and got no response to its void."""
        async with self.engine.begin() as connection:
            await connection.execute(
                _UNDONE_WITH_LOST_VOID,
                {"id": payment.id, "intent": intent_id, "reason": reason, "state": state},
            )
            await connection.execute(_VOIDING, {"id": payment.id})

    def new_process(self) -> None:
        """Continue as another process, without the memory of this one."""
        self.payments = PayingProcess(self.engine, self.client, self.connectors, self.institutions)

    def charged_minor(self, id: UUID) -> int:
        """Return the amount that the PSP took for this charge and did not give back."""
        taken = self.psp.book(id)["captures"]
        taken_minor = sum(int(each["amount_minor"]) for each in taken)
        return taken_minor - self.given_back_minor(id)

    def given_back_minor(self, id: UUID) -> int:
        """Return the amount that the PSP gave back of this charge."""
        book = self.psp.book()
        intents = {each["intent_id"] for each in book["captures"] if each["charge_id"] == str(id)}
        return sum(
            int(each["amount_minor"])
            for each in book["refunds"]
            if each["intent_id"] in intents and each["status"] != "failed"
        )

    def held_minor(self, id: UUID) -> int:
        """Return the amount that the PSP still holds for this charge."""
        return sum(
            int(each["amount_minor"])
            for each in self.psp.book(id)["holds"]
            if each["status"] == "held"
        )

    def applied(self, id: UUID) -> list[str]:
        """Return the payment's operations in the biller's book: apply, unapply."""
        return [each["kind"] for each in self.billers.book() if each["serial"] == serial_of(id)]

    async def agree(self, id: UUID) -> None:
        """Assert that the three books agree on this payment: paid once in all of them, or in none."""
        row = await books.payment(self.engine, id)
        left = row["captured_minor"] - row["refunded_minor"]
        by_psp = row["funding"] == "psp"
        assert self.charged_minor(id) == (left if by_psp else 0)
        assert len(self.psp.book(id)["captures"]) <= 1
        assert self.held_minor(id) == 0
        applied = self.applied(id)
        assert applied in ([], ["apply"], ["apply", "unapply"])
        if row["state"] in {"succeeded", "partially_refunded"}:
            assert applied == ([] if row["biller_id"] == BY_FILE else ["apply"])
        else:
            assert applied != ["apply"]
        assert await books.has_receipt(self.engine, id) == (
            row["state"] in {"succeeded", "partially_refunded"}
        )
        await books.audit(self.engine)

    async def aclose(self) -> None:
        """Stop."""
        await self.payments.drain()
        await self.payments.aclose()

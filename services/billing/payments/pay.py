"""Pay: the one path that every payment takes, whichever door it came through.

accept (one transaction) -> authorize, apply, capture (outside, concurrently) -> record (one transaction). HTTP, Kafka
and the timer's resume all lead here; refunds and top-ups have the same shape.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.payments import PayBill, RefundPayment, TopUpWallet
from services.billing.bills.connectors import Connectors
from services.billing.payments import refund, resume, top_up
from services.billing.payments.accept import Accepted, accept
from services.billing.payments.cases import Result, open_for_failed_call, open_for_result
from services.billing.payments.keep import LostRaceError
from services.billing.payments.legs import Legs
from services.billing.payments.model import Instruction, Payment, Progress
from services.billing.payments.record import record
from services.billing.payments.record_refund import finish, record_refunds
from services.billing.payments.record_top_up import record_top_ups
from services.billing.payments.refund import Refund, RefundProgress, Reversal
from services.billing.payments.refund_legs import RefundLegs
from services.billing.payments.top_up import TopUp, TopUpProgress
from services.billing.payments.top_up_legs import TopUpLegs
from services.billing.psp import Psp
from services.billing.runner import Runner
from services.billing.subject import Subject

# Each race is lost to somebody who won one, so a second try nearly always does; more than this is a defect.
MOST_TRIES = 20

log = structlog.get_logger()


class _Item(Protocol):
    @property
    def subject(self) -> Subject: ...


_ItemT = TypeVar("_ItemT", bound=_Item)
_ResultT = TypeVar("_ResultT", bound=Result)


class Payments:
    """Payments, refunds and top-ups of one process. Every use case takes a batch; one is a batch of one.

    `resume_after` is how long a process may keep what it has accepted before a timer takes it up.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        psp: Psp,
        connectors: Connectors,
        resume_after: timedelta = timedelta(seconds=20),
    ) -> None:
        self._engine = engine
        self._resume_after = resume_after
        self._payments: Runner[Payment, Progress] = _runner(
            engine, Legs(psp, connectors).run, record
        )
        self._refunds: Runner[Refund, RefundProgress] = _runner(
            engine, RefundLegs(psp, connectors).run, record_refunds
        )
        self._top_ups: Runner[TopUp, TopUpProgress] = _runner(
            engine, TopUpLegs(psp).run, record_top_ups
        )

    async def pay(self, batch: Sequence[Instruction[PayBill]]) -> list[int]:
        """Pay these bills; returns the positions whose payment id belongs to another payment, which change nothing."""
        accepted = await self._accept(batch)
        await self._payments.submit(accepted.open)
        return accepted.reused

    async def refund(self, batch: Sequence[Instruction[RefundPayment]]) -> dict[int, str]:
        """Refund these payments; returns why a refund could not even be kept, by position."""
        async with self._engine.begin() as connection:
            accepted = await refund.accept_refunds(connection, batch, self._resume_after)
            await finish(connection, accepted.refused, datetime.now(UTC))
        await self._refunds.submit(accepted.open)
        return accepted.wrong

    async def reverse(self, batch: Sequence[Reversal]) -> int:
        """The billers took their marks back: give back all that is left of these payments. Returns how many had any."""
        async with self._engine.begin() as connection:
            open_refunds = await refund.accept_reversals(connection, batch, self._resume_after)
        await self._refunds.submit(open_refunds)
        return len(open_refunds)

    async def top_up(self, batch: Sequence[Instruction[TopUpWallet]]) -> list[int]:
        """Top up these wallets; returns the positions whose id belongs to another top-up."""
        async with self._engine.begin() as connection:
            fresh, reused = await top_up.accept_top_ups(connection, batch, self._resume_after)
        await self._top_ups.submit(fresh)
        return reused

    async def resume(self) -> int:
        """Take up what is due and what there is room for; how many payments, refunds and top-ups that were."""
        async with self._engine.begin() as connection:
            payments = await resume.read_open(
                connection, await resume.claim(connection, "payments", self._payments.room)
            )
            refunds = await refund.read_open(
                connection, await resume.claim(connection, "refunds", self._refunds.room)
            )
            top_ups = await top_up.read_open(
                connection, await resume.claim(connection, "top_ups", self._top_ups.room)
            )
        await self._payments.submit(payments)
        await self._refunds.submit(refunds)
        await self._top_ups.submit(top_ups)
        return len(payments) + len(refunds) + len(top_ups)

    async def drain(self) -> None:
        """Wait until the outside calls under way are answered and recorded."""
        for runner in (self._payments, self._refunds, self._top_ups):
            await runner.drain()

    async def aclose(self) -> None:
        """Stop; what is under way is left to the timer."""
        for runner in (self._payments, self._refunds, self._top_ups):
            await runner.aclose()

    async def _accept(self, batch: Sequence[Instruction[PayBill]]) -> Accepted:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                async with self._engine.begin() as connection:
                    return await accept(connection, batch, self._resume_after)
            except LostRaceError as lost:
                log.info("race_lost", attempt=attempt, said=str(lost))
                if attempt == MOST_TRIES:
                    raise
        raise AssertionError("unreachable")


def _runner(
    engine: AsyncEngine,
    run: Callable[[_ItemT], Awaitable[_ResultT]],
    record_results: Callable[[AsyncConnection, Sequence[_ResultT]], Awaitable[int]],
) -> Runner[_ItemT, _ResultT]:
    # What breaks or can't be recorded becomes a case.
    async def broke(item: _ItemT, error: Exception) -> None:
        await open_for_failed_call(engine, item.subject, error)

    return Runner(engine, run, record_results, broke, partial(open_for_result, engine))

"""Pay: the one path that every payment takes, whichever door it came through.

accept (one transaction) -> authorize, apply, capture (outside, concurrently) -> record (one transaction). HTTP, Kafka
and what is claimed from the table of errands all lead here; refunds and top-ups have the same shape.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands import Desk, Errand, Trade, Turn
from events.payments import PayBill, RefundPayment, TopUpWallet
from services.billing.bills.connectors import Connectors
from services.billing.payments import busy, late, refund, top_up
from services.billing.payments.accept import Accepted, accept
from services.billing.payments.cases import Result, open_for_failed_call, open_for_result
from services.billing.payments.keep import LostRaceError
from services.billing.payments.late_legs import LateLegs
from services.billing.payments.legs import Legs
from services.billing.payments.model import Instruction
from services.billing.payments.read import Reader
from services.billing.payments.record import record
from services.billing.payments.record_late import record_late
from services.billing.payments.record_refund import finish, record_refunds
from services.billing.payments.record_top_up import record_top_ups
from services.billing.payments.refund import Reversal
from services.billing.payments.refund_legs import RefundLegs
from services.billing.payments.top_up_legs import TopUpLegs
from services.billing.psp import Psp
from services.billing.subject import Kind, Subject

# Each race is lost to somebody who won one, so a second try nearly always does; more than this is a defect.
MOST_TRIES = 20

log = structlog.get_logger()


class _Item(Protocol):
    @property
    def subject(self) -> Subject: ...

    @property
    def errand(self) -> Errand: ...


_ItemT = TypeVar("_ItemT", bound=_Item)
_ResultT = TypeVar("_ResultT", bound=Result)


class Payments:
    """Payments, refunds and top-ups of one process. Every use case takes a batch; one is a batch of one."""

    def __init__(self, engine: AsyncEngine, psp: Psp, connectors: Connectors, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk
        register = partial(_register, desk, engine)
        self._reader = Reader()
        register(Kind.PAYMENT, self._reader.read, Legs(psp, connectors).run, record)
        register(Kind.REFUND, refund.read_open, RefundLegs(psp, connectors).run, record_refunds)
        register(Kind.TOP_UP, top_up.read_open, TopUpLegs(psp).run, record_top_ups)
        for kind, read_late in late.READERS.items():
            register(kind, read_late, LateLegs(psp, connectors).run, record_late)

    async def pay(self, batch: Sequence[Instruction[PayBill]]) -> list[int]:
        """Pay these bills; returns the positions whose payment id belongs to another payment, which change nothing."""
        accepted = await self._accept(batch)
        self._reader.remember(accepted.waiting)
        self._desk.start(Kind.PAYMENT, accepted.held)
        return accepted.reused

    async def refund(self, batch: Sequence[Instruction[RefundPayment]]) -> dict[int, str]:
        """Refund these payments; returns why a refund could not even be kept, by position."""
        async with self._desk.booking() as booking, self._engine.begin() as connection:
            accepted = await refund.accept_refunds(connection, batch, booking)
            await finish(connection, accepted.refused, datetime.now(UTC))
        self._desk.start(Kind.REFUND, accepted.held)
        return accepted.wrong

    async def reverse(self, batch: Sequence[Reversal]) -> int:
        """The billers took their marks back: give back all that is left of these payments. Returns how many had any."""
        async with self._desk.booking() as booking, self._engine.begin() as connection:
            accepted = await refund.accept_reversals(connection, batch, booking)
        self._desk.start(Kind.REFUND, accepted.held)
        return accepted.kept

    async def top_up(self, batch: Sequence[Instruction[TopUpWallet]]) -> list[int]:
        """Top up these wallets; returns the positions whose id belongs to another top-up."""
        async with self._desk.booking() as booking, self._engine.begin() as connection:
            held, reused = await top_up.accept_top_ups(connection, batch, booking)
        self._desk.start(Kind.TOP_UP, held)
        return reused

    async def give_up_waiting(self) -> int:
        """End what has waited for a place for too long, and for which nothing was ever sent; how many those were."""
        async with self._engine.begin() as connection:
            return await busy.give_up_waiting(connection)

    async def _accept(self, batch: Sequence[Instruction[PayBill]]) -> Accepted:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                async with self._desk.booking() as booking, self._engine.begin() as connection:
                    return await accept(connection, batch, booking)
            except LostRaceError as lost:
                log.info("race_lost", attempt=attempt, said=str(lost))
                if attempt == MOST_TRIES:
                    raise
        raise AssertionError("unreachable")


def _register(  # noqa: PLR0917
    desk: Desk,
    engine: AsyncEngine,
    kind: str,
    read_open: Callable[[AsyncConnection, Sequence[Errand]], Awaitable[Sequence[_ItemT]]],
    run: Callable[[_ItemT, Turn], Awaitable[_ResultT]],
    record_results: Callable[[AsyncConnection, Sequence[_ResultT]], Awaitable[int]],
) -> None:
    # What breaks or can't be recorded becomes a case.
    async def broke(item: _ItemT, error: Exception) -> None:
        await open_for_failed_call(engine, item.subject, error)

    unrecorded = partial(open_for_result, engine)
    desk.register(Trade(kind, read_open, run, record_results, broke, unrecorded))

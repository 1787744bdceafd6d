"""Pay: the one path that every payment takes, whether its command came by HTTP or Kafka.

accept (one transaction) -> authorize, apply, capture (external calls, concurrently) -> record (one transaction). HTTP,
Kafka and errands claimed from the table all lead here; refunds and top-ups have the same shape.
"""

from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher, UnclaimedCache
from events.payments import PayBill
from services.billing.bills.connectors import Connectors
from services.billing.instruction import Instruction
from services.billing.outside import errand_handlers
from services.billing.payments.accept import Accepted, accept
from services.billing.payments.expire import expire_waiting
from services.billing.payments.insert import LostRaceError
from services.billing.payments.legs import Legs
from services.billing.payments.model import Payment
from services.billing.payments.read import read_claimed
from services.billing.payments.record import record
from services.billing.psp import Psp
from services.billing.subject import Kind

# Every lost race has a winner, so the second attempt nearly always succeeds; more attempts than this are a defect.
MOST_TRIES = 20

log = structlog.get_logger()


class Payments:
    """The payments of one process. Each use case takes a batch; a single payment is a batch of one."""

    def __init__(
        self, engine: AsyncEngine, psp: Psp, connectors: Connectors, dispatcher: Dispatcher
    ) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._unclaimed: UnclaimedCache[Payment] = UnclaimedCache()
        read = partial(read_claimed, self._unclaimed)
        errand_handlers.register(
            dispatcher, engine, Kind.PAYMENT, read, Legs(psp, connectors).run, record
        )

    async def pay(self, batch: Sequence[Instruction[PayBill]]) -> list[int]:
        """Pay these bills; return the positions whose payment id belongs to another payment (they change nothing)."""
        accepted = await self._accept(batch)
        self._unclaimed.add(accepted.waiting)
        self._dispatcher.start(Kind.PAYMENT, accepted.held)
        return accepted.reused

    async def expire_waiting(self) -> int:
        """End payments that waited too long for a place and for which no call was sent; return how many there were."""
        async with self._engine.begin() as connection:
            return await expire_waiting(connection)

    async def _accept(self, batch: Sequence[Instruction[PayBill]]) -> Accepted:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                async with (
                    self._dispatcher.booking() as booking,
                    self._engine.begin() as connection,
                ):
                    return await accept(connection, batch, booking)
            except LostRaceError as lost:
                log.info("race_lost", attempt=attempt, error=str(lost))
                if attempt == MOST_TRIES:
                    raise
        raise AssertionError("unreachable")

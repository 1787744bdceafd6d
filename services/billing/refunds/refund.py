"""Refund: accept (one transaction) -> unapply, refund (external calls) -> record (one transaction)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher
from events.payments import RefundPayment
from services.billing.bills.connectors import Connectors
from services.billing.instruction import Instruction
from services.billing.outside import errand_handlers
from services.billing.psp import Psp
from services.billing.refunds.accept import accept_refunds, accept_reversals
from services.billing.refunds.legs import RefundLegs
from services.billing.refunds.model import Reversal
from services.billing.refunds.read import read_open
from services.billing.refunds.record import finish_refunds, record_refunds
from services.billing.subject import Kind


class Refunds:
    """The refunds of one process. Each use case takes a batch; a single refund is a batch of one."""

    def __init__(
        self, engine: AsyncEngine, psp: Psp, connectors: Connectors, dispatcher: Dispatcher
    ) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        run = RefundLegs(psp, connectors).run
        errand_handlers.register(dispatcher, engine, Kind.REFUND, read_open, run, record_refunds)

    async def refund(self, batch: Sequence[Instruction[RefundPayment]]) -> dict[int, str]:
        """Refund these payments; return by position the reasons of commands that could not even be stored."""
        async with self._dispatcher.booking() as booking, self._engine.begin() as connection:
            accepted = await accept_refunds(connection, batch, booking)
            await finish_refunds(connection, accepted.refused, datetime.now(UTC))
        self._dispatcher.start(Kind.REFUND, accepted.held)
        return accepted.wrong

    async def reverse(self, batch: Sequence[Reversal]) -> int:
        """Refund the rest of payments whose billers took their marks back; return how many had anything left.

        No process calls it yet: it is for an automatic comparison of billers' statements with the ledger.
        """
        async with self._dispatcher.booking() as booking, self._engine.begin() as connection:
            accepted = await accept_reversals(connection, batch, booking)
        self._dispatcher.start(Kind.REFUND, accepted.held)
        return accepted.accepted_count

"""Top up a wallet: charge the payer's means of payment, and add it to the wallet's balance.

The same shape as a payment, without a bill: the first transaction stores the command, the PSP is called with a key
derived from the top-up's id, the second transaction books it.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher
from events.payments import TopUpWallet
from services.billing.instruction import Instruction
from services.billing.outside import errand_handlers
from services.billing.psp import Psp
from services.billing.subject import Kind
from services.billing.top_ups.accept import accept_top_ups
from services.billing.top_ups.expire import expire_waiting
from services.billing.top_ups.legs import TopUpLegs
from services.billing.top_ups.read import read_open
from services.billing.top_ups.record import record_top_ups


class TopUps:
    """The top-ups of one process. Each use case takes a batch; a single top-up is a batch of one."""

    def __init__(self, engine: AsyncEngine, psp: Psp, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        errand_handlers.register(
            dispatcher, engine, Kind.TOP_UP, read_open, TopUpLegs(psp).run, record_top_ups
        )

    async def top_up(self, batch: Sequence[Instruction[TopUpWallet]]) -> list[int]:
        """Top up these wallets; return the positions whose id belongs to another top-up."""
        async with self._dispatcher.booking() as booking, self._engine.begin() as connection:
            held, reused = await accept_top_ups(connection, batch, booking)
        self._dispatcher.start(Kind.TOP_UP, held)
        return reused

    async def expire_waiting(self) -> int:
        """End top-ups that waited too long for a place and for which no call was sent; return how many there were."""
        async with self._engine.begin() as connection:
            return await expire_waiting(connection)

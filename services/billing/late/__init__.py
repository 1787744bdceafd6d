"""Reports of the PSP about a payment, refund or top-up that has ended here: verified, undone, and booked once."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher
from services.billing.bills.connectors import Connectors
from services.billing.late.legs import LateLegs
from services.billing.late.record import record_late
from services.billing.late.reports import (
    KINDS,
    add_errand_for_failed_refund,
    add_errand_for_reported_money,
    key_of,
    read,
)
from services.billing.outside import errand_handlers
from services.billing.psp import Psp

__all__ = [
    "KINDS",
    "add_errand_for_failed_refund",
    "add_errand_for_reported_money",
    "key_of",
    "register",
]


def register(engine: AsyncEngine, psp: Psp, connectors: Connectors, dispatcher: Dispatcher) -> None:
    """Have the dispatcher work on errands about late reports."""
    for kind, name in KINDS.items():
        errand_handlers.register(
            dispatcher,
            engine,
            name,
            partial(read, kind),
            LateLegs(psp, connectors).run,
            record_late,
        )

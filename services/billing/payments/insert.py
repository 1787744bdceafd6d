"""Insert the decided payments of a batch: one row each, one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy, violated
from services.billing.payments.model import Payment
from services.billing.payments.tables import OPEN, State

# fmt: off
_COLUMNS = (
    "id", "channel_id", "payer", "bill_id", "biller_id", "account_id", "amount_minor", "currency", "funding",
    "payment_method", "request_hash", "state", "captured_minor", "version", "reason", "correlation_id", "authorized_at",
    "finished_at",
)
# fmt: on
_RACED_INDEXES = ("pk_payments", "uq_payments_live_bill")


class LostRaceError(Exception):
    """Another worker paid one of the bills, or accepted one of the payments, after this one had read them.

    Roll back and accept the batch again: the second attempt sees the winner's rows.
    """


class Decision(NamedTuple):
    """A payment to insert, and the fingerprint of its command."""

    payment: Payment
    fingerprint: bytes


async def insert(connection: AsyncConnection, decided: Sequence[Decision], now: datetime) -> None:
    """Insert all of these payments in the caller's transaction. Raises LostRaceError."""
    # In the order of the bills, so that two workers cannot deadlock on each other's bills.
    ordered = sorted(decided, key=lambda each: each.payment.bill.id)
    try:
        # Races are rare, so a violated index is cheaper than ON CONFLICT, which looks for the conflict beforehand.
        await copy(connection, "payments", _COLUMNS, [_row(each, now) for each in ordered])
    except IntegrityError as error:
        if violated(error) not in _RACED_INDEXES:
            raise
        raise LostRaceError(f"one of {len(ordered)} payments") from error


def _row(decision: Decision, now: datetime) -> tuple[object, ...]:
    payment, bill = decision.payment, decision.payment.bill
    state = payment.state
    return (
        payment.id,
        payment.channel,
        payment.payer,
        bill.id,
        bill.biller_id or None,
        bill.account_id if bill.biller_id else None,
        payment.amount_minor,
        payment.currency,
        "psp" if payment.by_psp else "wallet",
        payment.payment_method,
        decision.fingerprint,
        state,
        payment.amount_minor if state is State.SUCCEEDED else 0,
        1,
        payment.reason,
        payment.correlation_id,
        now if state is State.AUTHORIZED else None,
        None if state in OPEN else now,
    )

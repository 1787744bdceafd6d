"""Refunds that the PSP refuses, and the two ways in which an operator ends them.

The biller has taken its mark back, so the payer's money has to go back. The errand ends with a case, `refund_stuck`:
an operator has the PSP called again with a new key, or pays the payer's wallet. A refund that failed at the PSP after
it had succeeded (`refund_failed_late`) can be paid to the wallet as well.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import NewErrand
from events.ids import derived_id
from services.billing import ledger
from services.billing.institutions import PSP
from services.billing.outside.cases import close_lasting
from services.billing.payments import refundable
from services.billing.payments.model import Payment
from services.billing.payments.read import find_paid
from services.billing.psp import Psp, Refunded, RefundPending, Unknown
from services.billing.refunds.model import Decided
from services.billing.refunds.read import read
from services.billing.refunds.record import finish_refunds
from services.billing.refunds.tables import RefundState
from services.billing.subject import Kind, Subject

_READ = text("SELECT id, payment_id, amount_minor, state FROM refunds WHERE id = :id")
_LOCK = text("SELECT id, state, attempt FROM refunds WHERE id = :id FOR NO KEY UPDATE")
_END = text(f"""
    UPDATE refunds SET state = '{RefundState.SUCCEEDED}', finished_at = now()
    WHERE id = :id AND state = '{RefundState.UNAPPLIED}'
""")  # noqa: S608 - the states are our own constants


_ONLY_STUCK = "only one with an open case refund_stuck can be ended. See: meterhall cases list"


class RefundCommandError(Exception):
    """The command changed nothing; the message says why and what to do."""


class Credited(NamedTuple):
    """The amount that was paid to a payer's wallet."""

    amount_minor: int
    currency: str


async def retry(connection: AsyncConnection, refund_id: UUID) -> int:
    """Have the PSP called again with a new key; return the number of the attempt. Raises RefundCommandError."""
    row = (await connection.execute(_LOCK, {"id": refund_id})).one_or_none()
    if row is None:
        raise RefundCommandError(f"There is no refund {refund_id}. See: meterhall cases list")
    if row.state != RefundState.UNAPPLIED:
        raise RefundCommandError(f"Refund {refund_id} is {row.state}: {_ONLY_STUCK}")
    attempt: int = row.attempt + 1
    new = NewErrand(Kind.REFUND, refund_id, PSP, "refund", attempt=attempt)
    if not await errands.add(connection, [new]):
        raise RefundCommandError(
            f"The PSP is being called about refund {refund_id}. Wait for the response: "
            f"meterhall payments show {refund_id}"
        )
    why = f"the PSP is called again, attempt {attempt}"
    await close_lasting(connection, _subject(refund_id), "refund_stuck", why)
    return attempt


async def to_wallet(engine: AsyncEngine, psp: Psp, refund_id: UUID) -> Credited:
    """Pay a refund that the PSP could not make to the payer's wallet, after the PSP has confirmed that it has not.

    Raises RefundCommandError.
    """
    async with engine.begin() as connection:
        row, payment = await _read(connection, refund_id)
    await _prove_failed(psp, row, payment)
    async with engine.begin() as connection:
        # Wallets, payments, refunds: in this order everywhere.
        await ledger.lock_accounts(connection, [payment.wallet])
        await refundable.lock(connection, [payment.id])
        locked = (await connection.execute(_LOCK, {"id": refund_id})).one()
        if locked.state == RefundState.SUCCEEDED:
            await _credit_returned(connection, row, payment.wallet)
        else:
            await _succeed_to_wallet(connection, refund_id, locked.state)
    return Credited(row.amount_minor, payment.currency)


def _subject(refund_id: UUID) -> Subject:
    """Return the refund as cases refer to it."""
    return Subject(Kind.REFUND, refund_id)


async def _read(connection: AsyncConnection, refund_id: UUID) -> tuple[Row[Any], Payment]:
    row = (await connection.execute(_READ, {"id": refund_id})).one_or_none()
    if row is None:
        raise RefundCommandError(f"There is no refund {refund_id}. See: meterhall cases list")
    payment = (await find_paid(connection, [row.payment_id])).get(row.payment_id)
    may_have_failed = row.state in {RefundState.UNAPPLIED, RefundState.SUCCEEDED}
    if not may_have_failed or payment is None or payment.intent_id is None:
        raise RefundCommandError(
            f"Refund {refund_id} is {row.state} and did not fail at the PSP: nothing is owed."
        )
    return row, payment


async def _prove_failed(psp: Psp, row: Row[Any], payment: Payment) -> None:
    assert payment.intent_id is not None
    found = await psp.find_refund(
        _subject(row.id), payment.intent_id, row.amount_minor, payment.currency
    )
    match found:
        case Refunded(id) | RefundPending(id):
            raise RefundCommandError(
                f"The PSP has made refund {row.id} as {id}, so the wallet must not be paid. If it is open here, record"
                f" the PSP's refund with: meterhall refunds retry {row.id}"
            )
        case Unknown(why):
            raise RefundCommandError(
                f"The PSP did not respond about refund {row.id} ({why}). Nothing was changed; try again later."
            )


async def _succeed_to_wallet(connection: AsyncConnection, refund_id: UUID, state: str) -> None:
    # The refund was never booked: it ends now, and its money goes from the biller's account to the wallet.
    refunds = await read(connection, [refund_id])
    if state != RefundState.UNAPPLIED or not refunds:
        raise RefundCommandError(f"Refund {refund_id} is {state}: {_ONLY_STUCK}")
    if await errands.exist(connection, [(Kind.REFUND, refund_id)]):
        raise RefundCommandError(
            f"The PSP is being called about refund {refund_id}. Wait for the response: "
            f"meterhall payments show {refund_id}"
        )
    refund = replace(refunds[0], to_wallet=True)
    await connection.execute(_END, {"id": refund_id})
    await finish_refunds(
        connection, [Decided(refund, RefundState.SUCCEEDED, refund.reason)], datetime.now(UTC)
    )
    await close_lasting(
        connection, refund.subject, "refund_stuck", "the payer's wallet got the money"
    )


async def _credit_returned(
    connection: AsyncConnection, row: Row[Any], wallet: ledger.Account
) -> None:
    # Both the refund and its later failure at the PSP were booked.
    subject = _subject(row.id)
    returned, credited = (
        ledger.refund_returned_id(subject),
        derived_id("returned_to_wallet", subject),
    )
    booked = await ledger.booked(connection, [returned, credited])
    if credited in booked:
        raise RefundCommandError(
            f"Refund {row.id} was paid to the payer's wallet already. Nothing was changed; close its case."
        )
    if returned not in booked:
        raise RefundCommandError(
            f"Refund {row.id} has succeeded, and no failure of it is booked: nothing is owed to the payer."
        )
    transfer = ledger.returned_to_wallet(
        credited, returned, wallet, row.amount_minor, datetime.now(UTC)
    )
    await ledger.post(connection, [transfer])
    why = "the payer's wallet got the money"
    await close_lasting(connection, subject, "refund_failed_late", why)

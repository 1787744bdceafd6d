"""Money that the PSP took or returned after the end: its bookings match the PSP's statement, item by item."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import derived_id, uuid7
from services.billing import ledger
from services.billing.audit import audit_database
from services.billing.psp import BalanceTransaction
from services.billing.reconciliation import reconcile
from services.billing.reconciliation.lines import PSP, of_psp
from services.billing.subject import Kind, Subject
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, NOON
from tests.services.billing.reconciliation.test_kinds import line


async def late(engine: AsyncEngine, subject: Subject, amount: int) -> None:
    """Book a late capture and its return."""
    id = subject.id if subject.kind == Kind.PAYMENT else derived_id("top_up", subject.id)
    capture = ledger.late_capture(id, "CNY", amount, NOON)
    await books.post(
        engine, [capture, ledger.late_return(ledger.late_return_id(subject), capture, NOON)]
    )


async def returned(engine: AsyncEngine, subject: Subject, given_back: UUID, amount: int) -> None:
    """Book that what was given back has come back."""
    id = ledger.refund_returned_id(subject)
    await books.post(engine, [ledger.refund_returned(id, given_back, "CNY", amount, NOON)])


async def breaks_of(
    engine: AsyncEngine, lines: list[BalanceTransaction]
) -> list[tuple[str, str, str]]:
    await books.keep(engine, of_psp(lines))
    await reconcile(engine, DAY)
    return await books.open_breaks(engine, PSP)


async def test_a_late_capture_and_its_return_match(engine: AsyncEngine) -> None:
    voided = (await books.pay(engine, [100], state="voided"))[0]
    payment, top_up = Subject(Kind.PAYMENT, voided), Subject(Kind.TOP_UP, voided)
    await late(engine, payment, 100)
    await late(engine, top_up, 50)
    lines = [
        line("charge", 100, charge=payment),
        line("refund", -100, refund=payment),
        line("charge", 50, charge=top_up),
        line("refund", -50, refund=top_up),
    ]
    assert await breaks_of(engine, lines) == []


async def test_each_side_of_a_late_capture_is_a_break_of_its_own(engine: AsyncEngine) -> None:
    """A break refers to the payment, whose give-back it is."""
    voided = (await books.pay(engine, [100], state="voided"))[0]
    payment = Subject(Kind.PAYMENT, voided)
    await late(engine, payment, 100)
    assert await breaks_of(engine, [line("charge", 100, charge=payment)]) == [
        ("missing_external", "refund", str(voided))
    ]


async def test_the_line_comes_before_it_is_booked(engine: AsyncEngine) -> None:
    voided = (await books.pay(engine, [100], state="voided"))[0]
    payment = Subject(Kind.PAYMENT, voided)
    lines = [line("charge", 100, charge=payment), line("refund", -100, refund=payment)]
    assert await breaks_of(engine, lines) == [
        ("missing_internal", "charge", str(voided)),
        ("missing_internal", "refund", str(voided)),
    ]
    await late(engine, payment, 100)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == []


async def test_a_refund_that_failed_after_it_succeeded_matches(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100]))[0]
    refund = Subject(Kind.REFUND, await books.refund(engine, paid, 30))
    lines = [
        line("charge", 100, charge=Subject(Kind.PAYMENT, paid)),
        line("refund", -30, refund=refund),
        line("refund_failure", 30, refund=refund),
    ]
    missing = [("missing_internal", "refund_failure", str(refund.id))]
    assert await breaks_of(engine, lines) == missing
    await returned(engine, refund, derived_id("refund", refund.id), 30)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == []
    assert await audit_database(engine) == []


async def test_a_late_return_that_came_back_matches(engine: AsyncEngine) -> None:
    payment = Subject(Kind.PAYMENT, (await books.pay(engine, [100], state="voided"))[0])
    await late(engine, payment, 100)
    await returned(engine, payment, ledger.late_return_id(payment), 100)
    lines = [line("charge", 100, charge=payment), line("refund", -100, refund=payment)]
    assert await breaks_of(engine, lines) == [
        ("missing_external", "refund_failure", str(payment.id))
    ]
    lines.append(line("refund_failure", 100, refund=payment))
    assert await breaks_of(engine, lines) == []


@pytest.mark.parametrize("last", ["succeeded", "failed", "to the wallet"])
async def test_attempts_at_a_refund_that_failed_undo_each_other(
    engine: AsyncEngine, last: str
) -> None:
    paid = (await books.pay(engine, [100]))[0]
    refund = Subject(Kind.REFUND, uuid7())
    lines = [line("charge", 100, charge=Subject(Kind.PAYMENT, paid))]
    lines += [line("refund", -30, refund=refund), line("refund_failure", 30, refund=refund)] * 2
    if last == "succeeded":
        await books.refund(engine, paid, 30, id=refund.id)
        lines.append(line("refund", -30, refund=refund))
    if last == "to the wallet":
        await books.refund(engine, paid, 30, id=refund.id, to_wallet=True)
    assert await breaks_of(engine, lines) == []
    # And again, when the next day's statement is there.
    await reconcile(engine, DAY + timedelta(days=1))
    assert await books.open_breaks(engine, PSP) == []

"""A process dies, another one goes on: from every point, to one charge and one mark, or to none."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from errands.queue import claim
from services.billing.bills.connectors import Applied, BillerRefused, Unapplied
from services.billing.payments.model import Payment
from services.billing.payments.record import record
from services.billing.payments.tables import State
from services.billing.psp import Authorized, Captured, Voided
from tests.services.billing.late import late_news as late
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, EVERYWHERE, City
from tests.support.factories import fund_wallet, pay_bill


async def authorize(city: City, payment: Payment) -> str:
    answer = await city.client.authorize(payment.charge)
    assert isinstance(answer, Authorized)
    return answer.intent_id


async def apply(city: City, payment: Payment) -> None:
    connector = await city.connectors.of(BILLER)
    assert isinstance(await connector.apply(payment.application), Applied)


async def unapply(city: City, payment: Payment) -> None:
    connector = await city.connectors.of(BILLER)
    assert isinstance(await connector.unapply(payment.application), Unapplied)


@pytest.mark.parametrize("died_after", ["accept", "authorize", "apply", "capture"])
async def test_continues_from(city: City, died_after: str) -> None:
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    if died_after in {"authorize", "apply", "capture"}:
        intent_id = await authorize(city, payment)
    if died_after in {"apply", "capture"}:
        await apply(city, payment)
    if died_after == "capture":
        captured = await city.client.capture(
            intent_id, payment.subject, payment.amount_minor, "CNY"
        )
        assert isinstance(captured, Captured)
    await city.settle()
    row = await books.payment(city.engine, payment.id)
    assert row["state"] == "succeeded"
    assert city.applied(payment.id) == ["apply"]
    assert await books.events(city.engine, payment.id) == ["PaymentAccepted", "PaymentSucceeded"]
    await city.agree(payment.id)


@pytest.mark.parametrize("died_after", ["accept", "apply"])
async def test_continues_a_payment_from_the_wallet_from(city: City, died_after: str) -> None:
    await fund_wallet(city.engine, 10_000)
    payment = await city.accept(pay_bill(await city.bill()))
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (10_000, 8_850)
    if died_after == "apply":
        await apply(city, payment)
    await city.settle()
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (1_150, 0)
    assert city.applied(payment.id) == ["apply"]
    await city.agree(payment.id)


@pytest.mark.parametrize("died_after", ["unapply", "void"])
async def test_continues_an_undo_from(city: City, died_after: str) -> None:
    """The capture was refused, the mark taken back (and the hold let go), and nobody wrote it down."""
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    intent_id = await authorize(city, payment)
    await apply(city, payment)
    await unapply(city, payment)
    if died_after == "void":
        assert isinstance(await city.client.void(intent_id, payment.subject, "CNY"), Voided)
    await city.settle()
    row = await books.payment(city.engine, payment.id)
    assert row["state"] == "voided"
    assert city.applied(payment.id) == ["apply", "unapply"]
    await city.agree(payment.id)


async def test_a_hold_that_was_let_go_while_the_bill_is_marked_takes_the_mark_back(
    city: City,
) -> None:
    """As after a week without us: the bill is marked, and the hold has expired."""
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    intent_id = await authorize(city, payment)
    await apply(city, payment)
    assert isinstance(await city.client.void(intent_id, payment.subject, "CNY"), Voided)
    await city.settle()
    row = await books.payment(city.engine, payment.id)
    assert (row["state"], row["reason"]) == ("voided", "voided_at_psp")
    assert city.applied(payment.id) == ["apply", "unapply"]
    await city.agree(payment.id)


async def test_a_refusal_after_a_restart_blocks_the_call_that_is_still_on_its_way(
    city: City,
) -> None:
    """The first process sent its apply and died; the biller refuses the second, and only then gets the first."""
    await fund_wallet(city.engine, 10_000)
    payment = await city.accept(pay_bill(await city.bill()))
    city.billers.add_fault(BILLER, "apply", "refuse")
    await city.settle()
    assert (await books.payment(city.engine, payment.id))["state"] == "voided"
    late = await (await city.connectors.of(BILLER)).apply(payment.application)
    assert isinstance(late, BillerRefused)
    await city.agree(payment.id)


async def test_dying_again_and_again_changes_nothing(city: City) -> None:
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    for _ in range(4):
        await city.run_and_die(payment.id)
    assert (await books.payment(city.engine, payment.id))["fence"] == 4
    await city.settle()
    assert city.applied(payment.id) == ["apply"]
    await city.agree(payment.id)


async def test_a_timer_leaves_alone_what_another_one_has(city: City) -> None:
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    async with city.engine.begin() as connection:
        assert await claim(connection, EVERYWHERE, 60.0) == [], (
            "its worker has it until its lease ends"
        )
    await city.make_due()
    async with city.engine.begin() as one, city.engine.begin() as other:
        assert [each.subject for each in await claim(one, EVERYWHERE, 60.0)] == [payment.id]
        assert await claim(other, EVERYWHERE, 60.0) == [], "locked by the first"
    async with city.engine.begin() as connection:
        assert await claim(connection, EVERYWHERE, 60.0) == [], "leased by the first"
        wait = await connection.scalar(
            text("SELECT due_at - now() FROM errands WHERE subject = :id"), {"id": payment.id}
        )
    assert timedelta(seconds=50) < wait <= timedelta(seconds=60)
    await city.settle()
    await city.agree(payment.id)


class TestTwoProcesses:
    """A worker was slow, a timer took its payment up, and both come back with an answer."""

    async def test_both_succeed(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        slow = await city.run(payment)
        assert await city.run_and_record(await city.take_up(payment.id)) == 1
        async with city.engine.begin() as connection:
            assert await record(connection, [slow]) == 0
        await city.agree(payment.id)

    async def test_both_in_one_batch(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        slow = await city.run(payment)
        quick = await city.run(await city.take_up(payment.id))
        async with city.engine.begin() as connection:
            assert await record(connection, [slow, quick, slow]) == 1
        await city.agree(payment.id)

    @pytest.mark.parametrize("timer_first", [True, False])
    async def test_a_success_is_never_lost_to_an_unknown(
        self, city: City, timer_first: bool
    ) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        slow = await city.run(payment)
        assert slow.state == State.SUCCEEDED
        city.psp.add_fault("authorize", "timeout_before")
        timer = await city.run(await city.take_up(payment.id))
        assert timer.run.unanswered and timer.run.leg == "authorize"
        order = [timer, slow] if timer_first else [slow, timer]
        expected = []
        for each in order:
            async with city.engine.begin() as connection:
                expected.append(await record(connection, [each]))
        assert expected == ([1, 1] if timer_first else [1, 0])
        row = await books.payment(city.engine, payment.id)
        assert (row["state"], row["due_at"]) == ("succeeded", None)
        await city.agree(payment.id)

    async def test_an_older_unknown_does_not_undo_a_step(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        city.psp.add_fault("authorize", "timeout_before")
        slow = await city.run(payment)
        city.psp.add_fault("capture", "timeout_before")
        assert await city.run_and_record(await city.take_up(payment.id)) == 1
        async with city.engine.begin() as connection:
            assert await record(connection, [slow]) == 0
        row = await books.payment(city.engine, payment.id)
        assert (row["state"], row["unknown_leg"]) == ("applied", "capture")
        assert row["psp_intent_id"]
        await city.settle()
        await city.agree(payment.id)

    async def test_only_the_one_that_has_it_may_give_up(self, city: City) -> None:
        """The slow one was refused by the biller; the one that took it up since decides, and comes to the same end."""
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        city.billers.add_fault(BILLER, "apply", "refuse", code="closed_for_today")
        slow = await city.run(payment)
        assert slow.state == State.VOIDED
        taken_up = await city.take_up(payment.id)
        async with city.engine.begin() as connection:
            assert await record(connection, [slow]) == 0
        assert await city.run_and_record(taken_up) == 1
        assert (await books.payment(city.engine, payment.id))["state"] == "voided"
        await city.agree(payment.id)

    async def test_from_the_wallet_one_is_refused_and_the_other_applied(self, city: City) -> None:
        """A biller that says no and then yes: whoever took it up last is right, and the wallet pays once."""
        await fund_wallet(city.engine, 10_000)
        payment = await city.accept(pay_bill(await city.bill()))
        city.billers.add_fault(BILLER, "apply", "refuse")
        slow = await city.run(payment)
        taken_up = await city.take_up(payment.id)
        async with city.engine.begin() as connection:
            assert await record(connection, [slow]) == 0
        await city.run_and_record(taken_up)
        assert (await books.payment(city.engine, payment.id))["state"] == "succeeded"
        assert await books.balance(city.engine, "wallet:city-app:payer-1") == (1_150, 0)
        await city.agree(payment.id)

    async def test_two_ends_that_contradict_each_other_are_a_case(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        slow = await city.run(payment)
        await city.run_and_record(await city.take_up(payment.id))
        slow.state, slow.reason = State.VOIDED, "made_up"
        async with city.engine.begin() as connection:
            assert await record(connection, [slow]) == 0
        assert (await books.payment(city.engine, payment.id))["state"] == "succeeded"
        assert await books.cases(city.engine, payment.id) == ["contradiction"]


class TestLateSuccess:
    """We had given up, and the money was taken all the same."""

    async def capture(self, city: City, payment: Payment, *, applied: bool) -> str:
        intent_id = await authorize(city, payment)
        if applied:
            await apply(city, payment)
        await city.client.capture(intent_id, payment.subject, payment.amount_minor, "CNY")
        return intent_id

    async def test_with_the_bill_marked_it_is_a_success(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        intent_id = await self.capture(city, payment, applied=True)
        await city.give_up(payment, intent_id, reason="action_abandoned")
        await city.settle()
        row = await books.payment(city.engine, payment.id)
        assert (row["state"], row["reason"]) == ("succeeded", None)
        await city.agree(payment.id)

    async def test_without_the_mark_the_money_goes_back(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        intent_id = await self.capture(city, payment, applied=False)
        await city.give_up(payment, intent_id, reason="biller_refused")
        city.psp.add_fault("refund", "timeout_after")
        await city.settle()
        row = await books.payment(city.engine, payment.id)
        assert (row["state"], row["reason"]) == ("voided", "biller_refused")
        assert len(city.psp.book(payment.id)["captures"]) == 1
        assert city.given_back_minor(payment.id) == payment.amount_minor
        assert await books.cases(city.engine, payment.id) == ["late_success"]
        assert await late.kinds(city.engine) == ["late_capture", "late_return"]
        # The PSP's own event about that capture comes after all this.
        await late.tell_of_intent(city, intent_id)
        assert await late.errands(city.engine) == []
        await books.audit(city.engine)

    async def test_what_the_psp_will_not_give_back_is_owed_to_the_payer(self, city: City) -> None:
        payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
        intent_id = await self.capture(city, payment, applied=False)
        await city.give_up(payment, intent_id, reason="biller_refused")
        city.psp.add_fault("refund", "refuse")
        await city.settle()
        row = await books.payment(city.engine, payment.id)
        assert (row["state"], row["leg"]) == ("voided", None), "nobody asks for ever"
        assert await books.cases(city.engine, payment.id) == ["late_success"]
        assert await books.balance(city.engine, "suspense:late-captures") == (8_850, 0)
        await books.audit(city.engine)

    async def test_a_late_confirmation_is_let_go(self, city: City) -> None:
        """The payer confirmed after the window: the hold is released, nothing is paid."""
        requested = pay_bill(await city.bill(), method="pm_card_authenticationRequired")
        row = await city.pay(requested)
        await city.age("payments", row["id"], timedelta(minutes=31))
        city.psp.add_fault("void", "timeout_before")
        await city.settle(rounds=1)
        assert (await books.payment(city.engine, row["id"]))["unknown_leg"] == "void"
        city.psp.decide(row["action_url"], "approve")
        assert city.held_minor(row["id"]) == 8_850
        await city.settle()
        row = await books.payment(city.engine, row["id"])
        assert (row["state"], row["reason"]) == ("declined", "action_abandoned")
        await city.agree(row["id"])

"""Refunds that fail at the PSP after the biller's mark is gone, or after they had succeeded; and what ends them."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.billing.audit import audit_database
from services.billing.refunds.stuck import RefundCommandError, retry, to_wallet
from tests.services.billing.late import late_reports as late
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.command_line import CommandResult, meterhall
from tests.support.databases import Database
from tests.support.factories import pay_bill, refund_payment

WALLET = "wallet:city-app:payer-1"
PAYABLE = f"biller:{BILLER}:payable"
FORMS = ("refund.failed", "refund.updated", "charge.refund.updated")


async def refunded(
    city: City, method: str = "pm_card_visa", amount_minor: int | None = None
) -> dict[str, Any]:
    """The refund of a payment, as the first attempt left it."""
    row = await city.pay(pay_bill(await city.bill(), method=method))
    instruction = refund_payment(row["id"], amount_minor)
    await city.payments.refund([instruction])
    await city.payments.drain()
    return await books.refund(city.engine, instruction.command.refund_id)


async def stuck(city: City, why: str = "failed") -> dict[str, Any]:
    """A refund that the PSP did not make: it refused it, or the refund failed."""
    if why == "refused":
        city.psp.add_fault("refund", "refuse")
        row = await refunded(city)
    else:
        row = await refunded(city, "pm_card_pendingRefund")
        city.psp.settle_refund(row["psp_refund_id"], "failed")
        await late.report_refund(city, row["psp_refund_id"])
        await city.settle()
    return await books.refund(city.engine, row["id"])


async def cli(city: City, database: Database, *arguments: str) -> CommandResult:
    return await meterhall(
        database, "refunds", *arguments, psp_url=city.psp.url, psp_api_key=city.psp.api_key
    )


async def closed_because(city: City, id: UUID) -> list[str]:
    async with city.engine.connect() as connection:
        found = await connection.scalars(
            text("SELECT closed_because FROM cases WHERE subject = :id AND closed_at IS NOT NULL"),
            {"id": id},
        )
        return list(found)


class TestStuck:
    @pytest.mark.parametrize("why", ["failed", "refused"])
    async def test_a_stuck_refund_is_a_case_with_the_commands_that_end_it(
        self, city: City, why: str
    ) -> None:
        row = await stuck(city, why)
        assert row["state"] == "unapplied"
        assert await late.errands(city.engine) == []
        assert await books.cases(city.engine, row["id"]) == ["refund_stuck"]
        note = await late.case_note(city.engine, row["id"])
        for command in ("retry", "to-wallet"):
            assert f"meterhall refunds {command} {row['id']}" in note
        assert (await books.payment(city.engine, row["payment_id"]))[
            "refund_pending_minor"
        ] == 8_850
        await books.audit(city.engine)
        assert await audit_database(city.engine) == []
        # Another webhook about it changes nothing.
        if why == "failed":
            await late.report_refund(city, row["psp_refund_id"], "refund.updated")
            assert await late.errands(city.engine) == []

    @pytest.mark.parametrize("why", ["failed", "refused"])
    async def test_a_retried_refund_goes_back_to_the_payers_method(
        self, city: City, database: Database, why: str
    ) -> None:
        row = await stuck(city, why)
        result = await cli(city, database, "retry", str(row["id"]))
        assert (result.code, result.err) == (0, "")
        assert "attempt 2" in result.out
        assert await books.cases(city.engine, row["id"]) == []
        assert await closed_because(city, row["id"]) == ["the PSP is called again, attempt 2"]
        again = await cli(city, database, "retry", str(row["id"]))
        assert (again.code, again.out) == (1, "")
        assert "The PSP is being called" in again.err
        await city.settle(rounds=2)
        if why == "failed":  # its method decides refunds later
            (pending,) = [
                each for each in city.psp.book()["refunds"] if each["refund_id"] == str(row["id"])
            ][1:]
            city.psp.settle_refund(pending["id"], "succeeded")
            await city.settle()
        assert (await books.refund(city.engine, row["id"]))["state"] == "succeeded"
        assert city.given_back_minor(row["payment_id"]) == 8_850
        await city.agree(row["payment_id"])
        done = await cli(city, database, "retry", str(row["id"]))
        assert "is succeeded: only one" in done.err

    @pytest.mark.parametrize("kind", ["timeout_after", "error_500_before", "reset_before"])
    async def test_a_retried_refund_with_faults_goes_back_once(self, city: City, kind: str) -> None:
        row = await stuck(city, "refused")
        city.psp.add_fault("refund", kind)
        async with city.engine.begin() as connection:
            await retry(connection, row["id"])
        await city.settle()
        assert (await books.refund(city.engine, row["id"]))["state"] == "succeeded"
        assert city.given_back_minor(row["payment_id"]) == 8_850
        await city.agree(row["payment_id"])

    async def test_a_retried_refund_that_fails_again_is_a_case_again(self, city: City) -> None:
        row = await stuck(city)
        for attempt in (2, 3):
            async with city.engine.begin() as connection:
                assert await retry(connection, row["id"]) == attempt
            await city.settle(rounds=2)
            pending = (await books.refund(city.engine, row["id"]))["psp_refund_id"]
            city.psp.settle_refund(pending, "failed")
            await city.settle()
            assert await books.cases(city.engine, row["id"]) == ["refund_stuck"]
        assert city.given_back_minor(row["payment_id"]) == 0

    @pytest.mark.parametrize("why", ["failed", "refused"])
    async def test_the_wallet_gets_it(self, city: City, database: Database, why: str) -> None:
        row = await stuck(city, why)
        result = await cli(city, database, "to-wallet", str(row["id"]))
        assert (result.code, result.err) == (0, "")
        assert "88.50 CNY" in result.out
        assert (await books.refund(city.engine, row["id"]))["state"] == "succeeded"
        assert (await books.payment(city.engine, row["payment_id"]))["state"] == "refunded"
        assert await books.balance(city.engine, WALLET) == (8_850, 0)
        assert await books.balance(city.engine, PAYABLE) == (0, 0)
        assert await books.cases(city.engine, row["id"]) == []
        assert await closed_because(city, row["id"]) == ["the payer's wallet got the money"]
        assert (await books.events(city.engine, row["payment_id"]))[-1] == "PaymentRefunded"
        await books.audit(city.engine)
        assert await audit_database(city.engine) == []
        again = await cli(city, database, "to-wallet", str(row["id"]))
        assert (again.code, again.out) == (1, "")
        # The PSP's word about its own refund comes once more.
        if why == "failed":
            await late.report_refund(city, row["psp_refund_id"])
        assert await late.errands(city.engine) == []

    async def test_a_refund_that_the_psp_has_made_is_not_paid_to_the_wallet(
        self, city: City, database: Database
    ) -> None:
        """It went through under the next key, and nobody has recorded it yet."""
        row = await stuck(city)
        paid = await books.payment(city.engine, row["payment_id"])
        about = {"metadata[refund_id]": str(row["id"]), "metadata[kind]": "refund"}
        city.psp.call(
            "POST", "/v1/refunds", payment_intent=paid["psp_intent_id"], amount="8850", **about
        )
        result = await cli(city, database, "to-wallet", str(row["id"]))
        assert result.code == 1
        assert f"refunds retry {row['id']}" in result.err
        assert await books.balance(city.engine, WALLET) == (0, 0)

    async def test_no_response_of_the_psp_pays_nothing(
        self, city: City, database: Database
    ) -> None:
        row = await stuck(city)
        city.psp.add_fault("find_refund", "error_500_before")
        result = await cli(city, database, "to-wallet", str(row["id"]))
        assert result.code == 1
        assert "Nothing was changed" in result.err
        assert await books.cases(city.engine, row["id"]) == ["refund_stuck"]

    async def test_concurrent_operators_pay_a_refund_once(self, city: City) -> None:
        row = await stuck(city)

        async def ask_again() -> int:
            async with city.engine.begin() as connection:
                return await retry(connection, row["id"])

        async def pay() -> object:
            return await to_wallet(city.engine, city.client, row["id"])

        done = await asyncio.gather(*(do() for do in (pay, ask_again) * 4), return_exceptions=True)
        assert [isinstance(each, RefundCommandError) for each in done].count(False) == 1, done
        credited = await books.balance(city.engine, WALLET) == (8_850, 0)
        assert credited != bool(await late.errands(city.engine))
        await books.audit(city.engine)

    async def test_commands_refuse_refunds_that_are_not_stuck(
        self, city: City, database: Database
    ) -> None:
        row = await refunded(city)
        for command in ("retry", "to-wallet"):
            result = await cli(city, database, command, str(row["id"]))
            assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
            result = await cli(city, database, command, str(row["payment_id"]))
            assert "There is no refund" in result.err


class TestFailedLate:
    @pytest.mark.parametrize("form", FORMS)
    async def test_a_late_failure_is_a_case_and_booked_once_in_each_form(
        self, city: City, form: str
    ) -> None:
        row = await refunded(city, amount_minor=850)
        city.psp.settle_refund(row["psp_refund_id"], "failed")
        for type in (form, *FORMS):
            await late.report_refund(city, row["psp_refund_id"], type)
        assert await late.errands(city.engine) == [("late_refund", "find")]
        assert await books.cases(city.engine, row["id"]) == [], "nothing is believed yet"
        await city.settle()
        for type in FORMS:
            await late.report_refund(city, row["psp_refund_id"], type)
        assert await late.errands(city.engine) == []
        assert await books.cases(city.engine, row["id"]) == ["refund_failed_late"]
        assert await late.transfer_kinds(city.engine) == ["pay_bill", "refund", "refund_returned"]
        assert await books.balance(city.engine, late.CLEARING) == (-8_850, 0)
        assert await books.balance(city.engine, late.FAILED) == (850, 0)
        await books.audit(city.engine)
        assert await audit_database(city.engine) == []

    async def test_a_canceled_refund_counts_as_failed(self, city: City) -> None:
        row = await refunded(city, amount_minor=850)
        thing = city.psp.call("GET", f"/v1/refunds/{row['psp_refund_id']}")
        await late.deliver_webhook(city.engine, "refund.updated", {**thing, "status": "canceled"})
        assert await late.errands(city.engine) == [("late_refund", "find")]

    async def test_a_webhook_alone_changes_nothing(self, city: City) -> None:
        row = await refunded(city, amount_minor=850)
        thing = city.psp.call("GET", f"/v1/refunds/{row['psp_refund_id']}")
        await late.deliver_webhook(city.engine, "refund.failed", {**thing, "status": "failed"})
        await city.settle()
        assert await late.errands(city.engine) == []
        assert await books.cases(city.engine, row["id"]) == []
        assert await late.transfer_kinds(city.engine) == ["pay_bill", "refund"]

    async def test_reports_about_other_refunds_are_ignored(self, city: City) -> None:
        row = await refunded(city, amount_minor=850)
        thing = city.psp.call("GET", f"/v1/refunds/{row['psp_refund_id']}")
        ours = {"refund_id": str(row["id"])}
        for changed in (
            {},
            {"status": "pending"},
            {"status": ["failed"]},
            {"object": "charge", "status": "failed"},
            {"status": "failed", "metadata": {**ours, "kind": "payment"}},
            {"status": "failed", "metadata": {}},
        ):
            await late.deliver_webhook(city.engine, "refund.failed", {**thing, **changed})
        assert await late.errands(city.engine) == []
        # Without a kind: made before refunds named theirs.
        await late.deliver_webhook(
            city.engine, "refund.failed", {**thing, "status": "failed", "metadata": ours}
        )
        assert await late.errands(city.engine) == [("late_refund", "find")]

    @pytest.mark.parametrize("kind", ["timeout_before", "error_500_after"])
    async def test_faults_are_retried_until_the_end(self, city: City, kind: str) -> None:
        row = await refunded(city, amount_minor=850)
        city.psp.settle_refund(row["psp_refund_id"], "failed")
        await late.report_refund(city, row["psp_refund_id"])
        city.psp.add_fault("find_refund", kind)
        await city.settle()
        assert await books.cases(city.engine, row["id"]) == ["refund_failed_late"]

    async def test_the_wallet_gets_it_once(self, city: City, database: Database) -> None:
        row = await refunded(city, amount_minor=850)
        early = await cli(city, database, "to-wallet", str(row["id"]))
        assert "the wallet must not be paid" in early.err
        city.psp.settle_refund(row["psp_refund_id"], "failed")
        early = await cli(city, database, "to-wallet", str(row["id"]))
        assert "no failure of it is booked" in early.err
        await late.report_refund(city, row["psp_refund_id"])
        await city.settle()
        result = await cli(city, database, "to-wallet", str(row["id"]))
        assert "8.50 CNY" in result.out
        assert (await cli(city, database, "to-wallet", str(row["id"]))).code == 1
        assert await books.balance(city.engine, WALLET) == (850, 0)
        assert await books.balance(city.engine, late.FAILED) == (0, 0)
        assert await books.cases(city.engine, row["id"]) == []
        shown = await meterhall(database, "payments", "show", str(row["payment_id"]))
        for kind in ("refund_returned", "returned_to_wallet"):
            assert kind in shown.out
        assert await audit_database(city.engine) == []

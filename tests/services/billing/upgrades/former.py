"""Rows that the version before errands left open, with the effects at the PSP and the biller."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking
from events.ids import uuid7
from services.billing.payments.model import Payment
from services.billing.psp import ActionRequired, Captured, Refunded
from services.billing.refunds.accept import accept_refunds
from services.billing.refunds.model import Refund
from services.billing.top_ups.accept import accept_top_ups
from services.billing.top_ups.model import TopUp
from tests.services.billing.payments.city import BILLER, City
from tests.services.billing.payments.test_resume import apply, authorize, unapply
from tests.services.billing.upgrades.test_upgrade import run
from tests.support.errands import institutions
from tests.support.factories import (
    CHANNEL,
    make_account,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

ASKS = "pm_card_authenticationRequired"


@dataclass(frozen=True)
class Open:
    """A payment that the former version left open: `done` outside by then; `lost` is the call without an answer."""

    state: str
    done: tuple[str, ...] = ()
    lost: str | None = None
    reason: str | None = None
    ends: str = "succeeded"
    leg: str | None = None  # as the column had it, when the call has another name


PSP_FUNDED = {
    "nothing asked": Open("accepted"),
    "authorize": Open("accepted", lost="authorize"),
    "authorized": Open("authorized", ("authorize",)),
    "apply": Open("authorized", ("authorize",), "apply"),
    "applied": Open("applied", ("authorize", "apply")),
    "capture": Open("applied", ("authorize", "apply"), "capture"),
    "void": Open("authorized", ("authorize",), "void", "closed_for_today", "voided"),
    "unapply": Open("applied", ("authorize", "apply"), "unapply", "hold_expired", "voided"),
    "unapply of an apply that was refused": Open(
        "authorized", ("authorize",), "apply", "closed_for_today", "voided", leg="unapply"
    ),
    "refund": Open("authorized", ("authorize", "capture"), "refund", "closed_for_today", "voided"),
}
FROM_WALLET = {
    "authorized": Open("authorized"),
    "apply": Open("authorized", lost="apply"),
    "unapply": Open("authorized", ("apply",), "unapply", "closed_for_today", "voided"),
    "unapply of an apply that was refused": Open(
        "authorized", lost="apply", reason="closed_for_today", ends="voided", leg="unapply"
    ),
}


async def capture(city: City, payment: Payment, intent_id: str) -> None:
    captured = await city.client.capture(intent_id, payment.subject, payment.amount_minor, "CNY")
    assert isinstance(captured, Captured)


async def do(city: City, payment: Payment, what: str, intent_id: str | None) -> str | None:
    """Make this call for the payment; the PSP's id of it."""
    match what:
        case "authorize":
            return await authorize(city, payment)
        case "apply":
            await apply(city, payment)
        case "unapply":
            await unapply(city, payment)
        case _:
            assert intent_id
            if what == "capture":
                await capture(city, payment, intent_id)
            elif what == "void":
                await city.client.void(intent_id, payment.subject, "CNY")
            else:
                given = await city.client.refund(
                    payment.subject, intent_id, payment.amount_minor, "CNY"
                )
                assert isinstance(given, Refunded)
    return intent_id


Rewrite = Callable[[AsyncEngine], Awaitable[None]]


async def set_back(
    owner: AsyncEngine, table: str, id: UUID, leg: str | None, **columns: object
) -> None:
    """Write the row as the former version had it."""
    sets = "".join(f", {name} = :{name}" for name in columns)
    await run(
        owner,
        f"""
        UPDATE {table} SET unknown_leg = CAST(:leg AS text), attempts = 1, next_attempt_at = now(),
            unknown_since = CASE WHEN CAST(:leg AS text) IS NOT NULL THEN now() END{sets} WHERE id = :id
        """,
        id=id,
        leg=leg,
        **columns,
    )


class Former:
    """The state left by the former version: the rows to write after the downgrade, and the checks at the end."""

    def __init__(self, city: City, happened: bool) -> None:
        self.city = city
        self.happened = happened
        self.rewrites: list[Rewrite] = []
        self.payments: dict[UUID, tuple[str, str]] = {}

    async def payment(self, name: str, was: Open, method: str | None) -> None:
        city = self.city
        payment = await city.accept(pay_bill(await city.bill(), method=method))
        intent_id: str | None = None
        for each in was.done:
            intent_id = await do(city, payment, each, intent_id)
        known = intent_id
        if was.lost and self.happened:
            await do(city, payment, was.lost, intent_id)

        async def rewrite(owner: AsyncEngine) -> None:
            await set_back(
                owner,
                "payments",
                payment.id,
                was.leg or was.lost,
                state=was.state,
                reason=was.reason,
                psp_intent_id=known,
            )

        self.rewrites.append(rewrite)
        self.payments[payment.id] = f"{'psp' if method else 'wallet'}: {name}", was.ends

    async def payment_of_a_payer_who_confirms(self) -> tuple[UUID, str]:
        city = self.city
        payment = await city.accept(pay_bill(await city.bill(), method=ASKS))
        answer = await city.client.authorize(payment.charge)
        assert isinstance(answer, ActionRequired) and answer.url
        url = answer.url

        async def rewrite(owner: AsyncEngine) -> None:
            await set_back(
                owner,
                "payments",
                payment.id,
                None,
                psp_intent_id=answer.intent_id,
                action_url=url,
            )

        self.rewrites.append(rewrite)
        return payment.id, url

    async def refund(
        self,
        method: str | None,
        amount_minor: int | None,
        state: str,
        done: tuple[str, ...],
        lost: str | None,
    ) -> UUID:
        city = self.city
        row = await city.pay(pay_bill(await city.bill(), method=method))
        assert row["state"] == "succeeded"
        requested = refund_payment(row["id"], amount_minor)
        async with city.engine.begin() as connection:
            accepted = await accept_refunds(connection, [requested], Booking(institutions()))
        [refund] = accepted.held
        for each in [*done, *([lost] if lost and self.happened else [])]:
            await self._do_for(refund, each)

        async def rewrite(owner: AsyncEngine) -> None:
            await set_back(owner, "refunds", refund.id, lost, state=state)

        self.rewrites.append(rewrite)
        return refund.id

    async def _do_for(self, refund: Refund, what: str) -> None:
        city = self.city
        if what == "unapply":
            assert refund.application
            await (await city.connectors.of(BILLER)).unapply(refund.application)
        else:
            assert refund.intent_id
            given = await city.client.refund(
                refund.subject, refund.intent_id, refund.amount_minor, "CNY"
            )
            assert isinstance(given, Refunded)

    async def top_up(self, lost: str | None) -> UUID:
        city = self.city
        async with city.engine.begin() as connection:
            held, _ = await accept_top_ups(
                connection, [top_up_wallet(9_000)], Booking(institutions())
            )
        top_up: TopUp = held[0]
        if lost and self.happened:
            assert isinstance(await city.client.charge(top_up.charge), Captured)

        async def rewrite(owner: AsyncEngine) -> None:
            await set_back(owner, "top_ups", top_up.id, lost)

        self.rewrites.append(rewrite)
        return top_up.id

    async def lookup(self) -> UUID:
        city, id = self.city, uuid7()
        await city.bill()
        account = city.billers.accounts(BILLER, limit=1, owing=None)[0]
        account_id = await make_account(city.engine, BILLER, account)
        await run(
            city.engine,
            "INSERT INTO lookups (id, channel_id, account_id, state) VALUES (:id, :channel, :account, 'pending')",
            id=id,
            channel=CHANNEL,
            account=account_id,
        )
        return id

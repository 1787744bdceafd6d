"""A database from before errands: whatever is open goes on where it stood, and ends as PSP and billers have it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking
from events.ids import uuid7
from services.billing.payments.model import Payment
from services.billing.payments.refund import accept_refunds
from services.billing.payments.refund_model import Refund
from services.billing.payments.top_up import TopUp, accept_top_ups
from services.billing.psp import ActionRequired, Captured, Refunded
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.services.billing.payments.test_resume import apply, authorize, unapply
from tests.services.billing.payments.test_upgrade import after, before, run
from tests.support.databases import Database
from tests.support.errands import LookingUpProcess, institutions
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    make_account,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

FORMER = "0012"
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
    """What the former version left behind: what to write after the downgrade, and what to look at in the end."""

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
        asked = refund_payment(row["id"], amount_minor)
        async with city.engine.begin() as connection:
            accepted = await accept_refunds(connection, [asked], Booking(institutions()))
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


@pytest.mark.parametrize(
    ("happened", "again"), [(True, False), (False, False), (True, True), (False, True)]
)
async def test_what_is_open_goes_on(
    city: City, database: Database, owner_engine: AsyncEngine, happened: bool, again: bool
) -> None:
    """`happened`: whether each call that was not answered had its effect. `again`: one more downgrade and upgrade."""
    await fund_wallet(city.engine, 100_000)
    former = Former(city, happened)
    for name, each in PSP_FUNDED.items():
        await former.payment(name, each, "pm_card_visa")
    for name, each in FROM_WALLET.items():
        await former.payment(name, each, None)
    confirming, url = await former.payment_of_a_payer_who_confirms()
    refunds = [
        await former.refund("pm_card_visa", None, "accepted", (), None),
        await former.refund("pm_card_visa", None, "accepted", (), "unapply"),
        await former.refund("pm_card_visa", None, "unapplied", ("unapply",), None),
        await former.refund("pm_card_visa", None, "unapplied", ("unapply",), "refund"),
        await former.refund("pm_card_visa", 850, "accepted", (), None),
        await former.refund("pm_card_visa", 850, "accepted", (), "refund"),
        await former.refund(None, None, "accepted", (), "unapply"),
        await former.refund(None, None, "unapplied", ("unapply",), None),
        await former.refund(None, 850, "accepted", (), None),
    ]
    top_ups = [await former.top_up(None), await former.top_up("charge")]
    lookup = await former.lookup()

    await before(database, FORMER)
    await owner_engine.dispose()
    for rewrite in former.rewrites:
        await rewrite(owner_engine)
    troubled = next(iter(former.payments))
    await run(
        owner_engine,
        """
        INSERT INTO cases (subject, subject_kind, kind, note)
        VALUES (:id, 'payment', 'unknown_authorize', 'n'), (:refund, 'refund', 'unknown_unapply', 'n')
        """,
        id=troubled,
        refund=refunds[1],
    )
    await after(database, city.engine, owner_engine)
    if again:
        await before(database, FORMER)
        await owner_engine.dispose()
        left = "SELECT count(*) FROM {} WHERE next_attempt_at IS NOT NULL"
        assert [
            (await run(owner_engine, left.format(each)))[0][0]
            for each in ("payments", "refunds", "top_ups")
        ] == [len(former.payments) + 1, len(refunds), len(top_ups)]
        await after(database, city.engine, owner_engine)

    parts = await run(
        city.engine,
        "SELECT DISTINCT e.leg FROM errands e JOIN refunds r ON r.id = e.subject WHERE r.amount_minor = 850",
    )
    assert [row.leg for row in parts] == ["refund"], "a part is not asked of the biller"
    await settle(city)
    city.psp.decide(url, "approve")
    await settle(city)
    lookups = LookingUpProcess(city.engine, city.connectors, city.institutions)
    while await lookups.resume():
        await lookups.drain()

    ended = {}
    for id, (name, _) in former.payments.items():
        ended[name] = (await books.payment(city.engine, id))["state"]
    assert ended == dict(former.payments.values())
    assert (await books.payment(city.engine, confirming))["state"] == "succeeded"
    for id in (*former.payments, confirming):
        await city.agree(id)
    for id in refunds:
        row = await books.refund(city.engine, id)
        assert (row["state"], row["reason"]) == ("succeeded", None)
        await city.agree(row["payment_id"])
    for id in top_ups:
        assert (await books.top_up(city.engine, id))["state"] == "succeeded"
        assert city.charged_minor(id) == 9_000
    assert (await run(city.engine, "SELECT state FROM lookups WHERE id = :id", id=lookup))[0][
        0
    ] == "found"
    assert await run(city.engine, "SELECT subject FROM errands") == []
    open_cases = await run(city.engine, "SELECT DISTINCT kind FROM cases WHERE closed_at IS NULL")
    assert [row.kind for row in open_cases] == ["late_success"]


async def settle(city: City) -> None:
    """Several times: a busy machine may make the sandbox miss a time-out, and a breaker open."""
    for _ in range(3):
        await city.settle(rounds=4)

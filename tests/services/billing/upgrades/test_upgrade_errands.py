"""A database from before errands: whatever is open goes on where it stood, and ends as PSP and billers have it."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.services.billing.upgrades.former import FROM_WALLET, PSP_FUNDED, Former
from tests.services.billing.upgrades.test_upgrade import after, before, run
from tests.support.databases import Database
from tests.support.errands import LookingUpProcess
from tests.support.factories import (
    fund_wallet,
)

FORMER = "0012"


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

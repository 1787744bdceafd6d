"""Errands are added once, and claimed in order, with a fence and a lease, by one process at a time."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Institutions, NewErrand, queue
from tests.errands.errand_rows import LEASE_SECONDS, PSP, add, claim, described, row, settle
from tests.support.errands import errand_run


@pytest.fixture
def institutions() -> Institutions:
    return described()


class TestAdd:
    async def test_an_existing_errand_stays_unchanged(self, engine: AsyncEngine) -> None:
        id = await add(engine, lease_seconds=30.0)
        before = await row(engine, id)
        other = NewErrand("payment", uuid4(), PSP, "authorize")
        async with engine.begin() as connection:
            same = NewErrand("payment", id, "biller:a", "apply")
            added = await queue.add(connection, [same, other])
            assert added.keys() == {("payment", other.subject)}
            assert await queue.add(connection, []) == {}
        after = await row(engine, id)
        assert (after["institution"], after["leg"], after["held"], after["due_at"]) == (
            before["institution"],
            before["leg"],
            before["held"],
            before["due_at"],
        )

    async def test_a_lease_counts_from_now_by_the_databases_clock(
        self, engine: AsyncEngine
    ) -> None:
        id = await add(engine, lease_seconds=30.0)
        found = await row(engine, id)
        assert found["held"]
        assert timedelta(seconds=25) < found["due_in"] <= timedelta(seconds=30)

    async def test_the_same_id_may_have_errands_of_two_kinds(self, engine: AsyncEngine) -> None:
        id = await add(engine)
        async with engine.begin() as connection:
            new = [NewErrand("refund", id, PSP, "refund")]
            assert (await queue.add(connection, new)).keys() == {("refund", id)}


class TestClaim:
    async def test_a_claim_raises_the_fence_and_sets_a_lease(self, engine: AsyncEngine) -> None:
        id = await add(engine)
        [errand] = await claim(engine)
        assert (errand.subject, errand.fence, errand.leg) == (id, 1, "authorize")
        found = await row(engine, id)
        assert (found["fence"], found["held"], found["contested"]) == (1, True, False)
        assert timedelta(seconds=55) < found["due_in"] <= timedelta(seconds=60)
        assert await claim(engine) == []

    async def test_the_lease_counts_from_the_claim_and_not_from_the_transaction(
        self, engine: AsyncEngine
    ) -> None:
        """A transaction that was slow before the claim does not shorten the lease."""
        id = await add(engine)
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(0.3)"))
            await queue.claim(connection, {PSP: 1}, LEASE_SECONDS)
            since = await connection.scalar(text("SELECT now()"))
        assert (await row(engine, id))["due_at"] - since >= timedelta(seconds=LEASE_SECONDS + 0.3)

    async def test_concurrent_claims_get_different_errands(self, engine: AsyncEngine) -> None:
        ids = {await add(engine) for _ in range(6)}
        async with engine.begin() as one, engine.begin() as other:
            first = await queue.claim(one, {PSP: 4}, LEASE_SECONDS)
            second = await queue.claim(other, {PSP: 4}, LEASE_SECONDS)
        assert (len(first), len(second)) == (4, 2)
        assert {each.subject for each in first + second} == ids

    async def test_an_errand_claimed_after_its_lease_is_contested_and_may_have_been_sent(
        self, engine: AsyncEngine
    ) -> None:
        id = await add(engine, lease_seconds=0.0, due_in=-1.0)
        [errand] = await claim(engine)
        assert errand.contested
        assert errand.sent_at == errand.claimed_at, "a call may have gone out until now"
        assert (await row(engine, id))["contested"]

    async def test_an_errand_that_was_not_held_counts_as_unsent(self, engine: AsyncEngine) -> None:
        await add(engine)
        [errand] = await claim(engine)
        assert (errand.contested, errand.sent_at) == (False, None)

    async def test_a_contested_errand_stays_contested(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        id = await add(engine, lease_seconds=0.0, due_in=-1.0)
        [errand] = await claim(engine)
        mine = errand_run(errand, institutions)
        mine.note_answered()
        await settle(engine, mine)
        [errand] = await claim(engine)
        assert (errand.subject, errand.contested, errand.sent_at) == (id, True, None)

    async def test_errands_are_claimed_in_the_order_of_their_due_times(
        self, engine: AsyncEngine
    ) -> None:
        waits = {await add(engine, due_in=-float(n)): n for n in (5, 1, 9, 3, 7)}
        order = [waits[(await claim(engine, places=1))[0].subject] for _ in range(5)]
        assert order == [9, 7, 5, 3, 1]

    async def test_claims_are_bounded_per_institution(self, engine: AsyncEngine) -> None:
        for name in (PSP, "biller:a", "biller:b"):
            for _ in range(4):
                await add(engine, name)
        async with engine.begin() as connection:
            found = await queue.claim(connection, {PSP: 2, "biller:a": 10}, LEASE_SECONDS)
        assert sorted(each.institution for each in found) == [*["biller:a"] * 4, *[PSP] * 2]

    async def test_an_errand_that_is_not_due_is_not_claimed(self, engine: AsyncEngine) -> None:
        await add(engine, due_in=5.0)
        assert await claim(engine) == []

    async def test_a_claim_skips_unknown_kinds(self, engine: AsyncEngine) -> None:
        ids = [await add(engine, kind=kind) for kind in ("of_the_future", "payment", "refund")]
        async with engine.begin() as connection:
            kinds = ["payment", "refund"]
            found = await queue.claim(connection, {PSP: 2}, LEASE_SECONDS, kinds)
        assert {each.subject for each in found} == set(ids[1:])
        untouched = await row(engine, ids[0])
        assert (untouched["fence"], untouched["held"]) == (0, False)

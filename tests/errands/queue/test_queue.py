"""The table of errands: who may claim what, in which order."""

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
    async def test_what_is_there_stays_as_it_is(self, engine: AsyncEngine) -> None:
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

    async def test_kinds_have_their_ids_to_themselves(self, engine: AsyncEngine) -> None:
        id = await add(engine)
        async with engine.begin() as connection:
            new = [NewErrand("refund", id, PSP, "refund")]
            assert (await queue.add(connection, new)).keys() == {("refund", id)}


class TestClaim:
    async def test_it_raises_the_fence_and_has_a_lease(self, engine: AsyncEngine) -> None:
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
        """A transaction that was slow until then has shortened no lease."""
        id = await add(engine)
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(0.3)"))
            await queue.claim(connection, {PSP: 1}, LEASE_SECONDS)
            since = await connection.scalar(text("SELECT now()"))
        assert (await row(engine, id))["due_at"] - since >= timedelta(seconds=LEASE_SECONDS + 0.3)

    async def test_two_never_get_the_same(self, engine: AsyncEngine) -> None:
        ids = {await add(engine) for _ in range(6)}
        async with engine.begin() as one, engine.begin() as other:
            first = await queue.claim(one, {PSP: 4}, LEASE_SECONDS)
            second = await queue.claim(other, {PSP: 4}, LEASE_SECONDS)
        assert (len(first), len(second)) == (4, 2)
        assert {each.subject for each in first + second} == ids

    async def test_an_expired_lease_makes_it_contested_and_perhaps_sent(
        self, engine: AsyncEngine
    ) -> None:
        id = await add(engine, lease_seconds=0.0, due_in=-1.0)
        [errand] = await claim(engine)
        assert errand.contested
        assert errand.sent_at == errand.claimed_at, "a call may have gone out until now"
        assert (await row(engine, id))["contested"]

    async def test_one_that_nobody_held_was_not_sent(self, engine: AsyncEngine) -> None:
        await add(engine)
        [errand] = await claim(engine)
        assert (errand.contested, errand.sent_at) == (False, None)

    async def test_once_contested_it_stays_so(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        id = await add(engine, lease_seconds=0.0, due_in=-1.0)
        [errand] = await claim(engine)
        mine = errand_run(errand, institutions)
        mine.note_answered()
        await settle(engine, mine)
        [errand] = await claim(engine)
        assert (errand.subject, errand.contested, errand.sent_at) == (id, True, None)

    async def test_those_that_waited_longest_come_first(self, engine: AsyncEngine) -> None:
        waits = {await add(engine, due_in=-float(n)): n for n in (5, 1, 9, 3, 7)}
        order = [waits[(await claim(engine, places=1))[0].subject] for _ in range(5)]
        assert order == [9, 7, 5, 3, 1]

    async def test_it_is_bounded_at_each_institution(self, engine: AsyncEngine) -> None:
        for name in (PSP, "biller:a", "biller:b"):
            for _ in range(4):
                await add(engine, name)
        async with engine.begin() as connection:
            found = await queue.claim(connection, {PSP: 2, "biller:a": 10}, LEASE_SECONDS)
        assert sorted(each.institution for each in found) == [*["biller:a"] * 4, *[PSP] * 2]

    async def test_what_is_not_due_waits(self, engine: AsyncEngine) -> None:
        await add(engine, due_in=5.0)
        assert await claim(engine) == []

    async def test_others_leave_alone_kinds_that_they_do_not_know(
        self, engine: AsyncEngine
    ) -> None:
        ids = [await add(engine, kind=kind) for kind in ("of_the_future", "payment", "refund")]
        async with engine.begin() as connection:
            kinds = ["payment", "refund"]
            found = await queue.claim(connection, {PSP: 2}, LEASE_SECONDS, kinds)
        assert {each.subject for each in found} == set(ids[1:])
        untouched = await row(engine, ids[0])
        assert (untouched["fence"], untouched["held"]) == (0, False)

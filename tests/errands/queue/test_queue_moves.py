"""Errands are made due, recalled after an outage or redirected, except those that are held or may have been sent."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Institutions, queue
from tests.errands.errand_rows import PSP, add, claim, described, execute, row


@pytest.fixture
def institutions() -> Institutions:
    return described()


class TestMakeDue:
    async def test_a_waiting_errand_becomes_due(self, engine: AsyncEngine) -> None:
        id, other = await add(engine, due_in=100.0), await add(engine, due_in=100.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 1
        assert [each.subject for each in await claim(engine)] == [id]
        assert (await row(engine, other))["due_in"] > timedelta(seconds=90)

    async def test_a_held_errand_is_not_changed(self, engine: AsyncEngine) -> None:
        id = await add(engine, lease_seconds=30.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 0
        assert await claim(engine) == []

    async def test_a_due_errand_keeps_its_due_time(self, engine: AsyncEngine) -> None:
        id = await add(engine, due_in=-50.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 0
        assert (await row(engine, id))["due_in"] < timedelta(seconds=-45)

    async def test_only_errands_of_the_given_institution_become_due(
        self, engine: AsyncEngine
    ) -> None:
        id = await add(engine, "biller:a", due_in=100.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)], PSP) == 0
            assert await queue.make_due(connection, [("payment", id)], "biller:a") == 1


class TestRecall:
    async def unknown(self, engine: AsyncEngine, since: float, due_in: float = 600.0) -> UUID:
        id = await add(engine)
        await execute(
            engine,
            """
            UPDATE errands SET unknown_since = now(), sent_at = now(), due_at = now() + :due * interval '1 second',
                leg_since = now() - :since * interval '1 second' WHERE subject = :id
            """,
            id=id,
            due=due_in,
            since=since,
        )
        return id

    async def test_recalled_errands_are_due_in_the_order_in_which_they_began_to_wait(
        self, engine: AsyncEngine
    ) -> None:
        since = {await self.unknown(engine, n): n for n in (20.0, 500.0, 90.0)}
        fresh = await add(engine, due_in=-50.0)
        async with engine.begin() as connection:
            assert await queue.recall(connection, PSP) == 3
        order = [(await claim(engine, places=1))[0].subject for _ in range(4)]
        assert [since.get(each) for each in order] == [500.0, 90.0, None, 20.0]
        assert order[2] == fresh

    async def test_errands_that_wait_for_another_reason_are_not_recalled(
        self, engine: AsyncEngine
    ) -> None:
        """They wait for the payer to confirm, for instance, or at another institution, or are held by a process."""
        for_the_payer = await add(engine, due_in=15.0)
        elsewhere = await self.unknown(engine, 20.0)
        held = await self.unknown(engine, 20.0)
        await execute(
            engine,
            "UPDATE errands SET institution = 'biller:a' WHERE subject = :id",
            id=elsewhere,
        )
        await execute(engine, "UPDATE errands SET held = true WHERE subject = :id", id=held)
        async with engine.begin() as connection:
            assert await queue.recall(connection, PSP) == 0
        for id in (for_the_payer, elsewhere, held):
            assert (await row(engine, id))["due_in"] > timedelta(0)

    async def test_recall_skips_locked_rows(self, engine: AsyncEngine) -> None:
        """A claim holds no lock on an aggregate, so waiting for a locked errand could deadlock."""
        locked, free = await self.unknown(engine, 20.0), await self.unknown(engine, 10.0)
        async with engine.begin() as other, engine.begin() as connection:
            await other.execute(
                text("SELECT FROM errands WHERE subject = :id FOR UPDATE"), {"id": locked}
            )
            await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert await queue.recall(connection, PSP) == 1
        assert (await row(engine, free))["due_in"] < timedelta(0)


class TestUnsent:
    async def waiting(self, engine: AsyncEngine) -> list[UUID]:
        async with engine.connect() as connection:
            found = await queue.unsent(connection, "payment", ["authorize", "apply"])
            return [each.subject for each in found]

    async def redirect(
        self, engine: AsyncEngine, id: UUID, legs: Sequence[str] = ("authorize", "apply")
    ) -> bool:
        async with engine.begin() as connection:
            moved = await queue.redirect(connection, "payment", {id: ("ledger", "void")}, legs)
        return moved == {id}

    async def test_unsent_errands_are_listed_and_redirected(self, engine: AsyncEngine) -> None:
        id = await add(engine, due_in=-30.0)
        await add(engine, due_in=30.0)
        await add(engine, due_in=-30.0, leg="capture")
        await add(engine, due_in=-30.0, kind="refund")
        async with engine.connect() as connection:
            [found] = await queue.unsent(connection, "payment", ["authorize", "apply"])
        assert (found.subject, found.institution, found.leg) == (id, PSP, "authorize")
        assert 30.0 <= found.seconds < 35.0
        assert await self.redirect(engine, id)
        after = await row(engine, id)
        assert (after["institution"], after["leg"], after["held"]) == ("ledger", "void", False)
        assert after["due_in"] <= timedelta(0)
        assert after["leg_since"] > datetime.now(UTC) - timedelta(seconds=20)

    @pytest.mark.parametrize(
        "change",
        [
            "sent_at = now(), unknown_since = now()",
            "sent_at = now()",
            "contested = true",
            "held = true",
        ],
    )
    async def test_an_errand_that_may_have_been_sent_is_not_redirected(
        self, engine: AsyncEngine, change: str
    ) -> None:
        id = await add(engine, due_in=-3_000.0)
        await execute(engine, f"UPDATE errands SET {change} WHERE subject = :id", id=id)
        assert await self.waiting(engine) == []
        assert not await self.redirect(engine, id)
        assert (await row(engine, id))["leg"] == "authorize"

    async def test_an_errand_at_a_later_leg_is_not_redirected(self, engine: AsyncEngine) -> None:
        """The biller has applied it between the query and the redirection, and it waits for a place to be captured."""
        id = await add(engine, due_in=-3_000.0)
        assert await self.waiting(engine) == [id]
        await execute(engine, "UPDATE errands SET leg = 'capture' WHERE subject = :id", id=id)
        assert not await self.redirect(engine, id)

    async def test_an_errand_that_was_claimed_meanwhile_is_not_redirected(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """An errand that is claimed between the query and the redirection is held."""
        id = await add(engine, due_in=-3_000.0)
        assert await self.waiting(engine) == [id]
        await claim(engine)
        assert not await self.redirect(engine, id)

"""The columns that a run changes in its errand's row, and which process may change them."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import ErrandRun, Institutions
from errands.run import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, retry_seconds
from services.billing.outside.recording import record_errands
from services.billing.subject import Kind, Subject
from tests.errands.errand_rows import (
    LEASE_SECONDS,
    PSP,
    again,
    claimed,
    described,
    move,
    row,
    settle,
)


@pytest.fixture
def institutions() -> Institutions:
    return described()


class TestSettle:
    async def test_after_progress_the_errand_is_due_at_once_without_an_unanswered_call(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        mine.note_answered()
        assert await mine.begin("apply", "biller:a")
        await settle(engine, mine)
        found = await row(engine, mine.errand.subject)
        assert (found["institution"], found["leg"], found["held"]) == ("biller:a", "apply", False)
        assert (found["unknown_since"], found["sent_at"], found["tries"]) == (None, None, 0)
        assert found["due_in"] <= timedelta(0)

    async def test_unknown_since_keeps_the_time_of_the_first_unanswered_call(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.note_unknown()
        await settle(engine, mine)
        first = await row(engine, id)
        assert first["unknown_since"] == first["sent_at"] is not None
        assert first["tries"] == 1
        await move(engine, id, unknown_since=-100, sent_at=-100, leg_since=-200)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert mine.may_have_been_sent
        mine.note_unknown()
        await settle(engine, mine)
        second = await row(engine, id)
        assert second["unknown_since"] == before["unknown_since"]
        assert second["leg_since"] == before["leg_since"]
        assert second["sent_at"] > before["sent_at"], "the call was sent again"
        assert second["tries"] == 2
        assert second["due_in"] > first["due_in"]

    async def test_unknown_since_restarts_at_another_leg(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.note_unknown()
        await settle(engine, mine)
        await move(engine, id, unknown_since=-100, sent_at=-100, leg_since=-100)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        mine.note_answered()
        assert await mine.begin("apply", "biller:a")
        mine.note_unknown()
        await settle(engine, mine)
        after = await row(engine, id)
        assert after["unknown_since"] > before["unknown_since"]
        assert after["leg_since"] > before["leg_since"]

    async def test_an_answer_clears_unknown_since_and_sent_at(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.note_unknown()
        await settle(engine, mine)
        mine = await again(engine, institutions, id)
        mine.note_answered()
        mine.continue_after(15.0)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["unknown_since"], found["sent_at"], found["tries"]) == (None, None, 0)
        assert timedelta(seconds=10) < found["due_in"] <= timedelta(seconds=15)

    async def test_a_refusal_before_the_late_effect_time_keeps_sent_at(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """The errand waits until the earlier call can have no effect any more, counted from the time of that call."""
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.note_unknown()
        await settle(engine, mine)
        await move(engine, id, sent_at=-20, unknown_since=-20)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert not mine.earlier_calls_are_over
        mine.continue_after(mine.late_effect_seconds_left)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["sent_at"], found["unknown_since"]) == (before["sent_at"], None)
        assert timedelta(seconds=35) < found["due_in"] <= timedelta(seconds=40)
        await move(engine, id, sent_at=-41)
        mine = await again(engine, institutions, id)
        assert mine.may_have_been_sent
        assert mine.earlier_calls_are_over

    async def test_another_leg_at_the_same_institution_keeps_sent_at(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """An apply without an answer, and then an unapply: the apply may still take effect."""
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.note_unknown()
        await settle(engine, mine)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert await mine.begin("unapply", PSP)
        mine.continue_after(1.0)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["leg"], found["sent_at"]) == ("unapply", before["sent_at"])

    async def test_a_new_attempt_is_stored_before_its_key_is_used(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.retry_with_new_key()
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["attempt"], found["sent_at"], found["unknown_since"]) == (2, None, None)
        assert found["tries"] == 1, "a new attempt is no progress, so the waits grow"
        mine = await again(engine, institutions, id)
        assert mine.attempt == 2
        assert await mine.begin("apply", "biller:a")
        await settle(engine, mine)
        assert (await row(engine, id))["attempt"] == 1, "each leg begins with its own first key"

    def test_the_waits_grow_up_to_ten_minutes(self) -> None:
        waits = [retry_seconds(tries) for tries in range(1, 40)]
        assert waits[:3] == [FIRST_RETRY_SECONDS, 4.0, 8.0]
        assert waits[-1] == LONGEST_RETRY_SECONDS
        assert waits == sorted(waits)

    async def test_only_the_holder_settles_an_errand(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        slow = await claimed(engine, institutions)
        id = slow.errand.subject
        await move(engine, id, due_at=-LEASE_SECONDS - 1)
        quick = await again(engine, institutions, id)
        slow.note_unknown()
        async with engine.begin() as connection:
            await record(connection, [slow])
        found = await row(engine, id)
        assert (found["held"], found["unknown_since"], found["fence"]) == (True, None, 2)
        quick.continue_after(30.0)
        async with engine.begin() as connection:
            await record(connection, [slow, quick])
        found = await row(engine, id)
        assert (found["held"], found["unknown_since"]) == (False, None)

    async def test_a_process_without_the_lease_ends_the_errand_of_an_ended_aggregate(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """A slow process reached the end before the process that holds the errand now."""
        slow = await claimed(engine, institutions)
        id = slow.errand.subject
        await move(engine, id, due_at=-LEASE_SECONDS - 1)
        await again(engine, institutions, id)
        async with engine.begin() as connection:
            await record(connection, [slow], ended=True)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM errands")) == 0


class Result:
    """The result of a run, as record_errands() takes it."""

    def __init__(self, run: ErrandRun) -> None:
        self.run = run
        self.case: str | None = None
        self.state = ""
        self.subject = Subject(Kind(run.errand.kind), run.errand.subject)


async def record(
    connection: AsyncConnection, runs: Sequence[ErrandRun], *, ended: bool = False
) -> None:
    """Record these runs as a use case does, with the errands locked."""
    locked = await errands.lock(connection, [each.errand for each in runs])
    results = [Result(each) for each in runs]
    await record_errands(
        connection, results, locked, [each.subject for each in results] if ended else []
    )

"""The table of errands: who may claim what, in which order, and what a run leaves behind."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import Errand, Institutions, NewErrand, Turn, queue
from errands.turn import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, retry_seconds
from services.billing.payments.recording import record_errands
from services.billing.subject import Kind, Subject
from tests.support.errands import turn

PSP = "psp"
LEASE_SECONDS = 60.0


@pytest.fixture
def institutions() -> Institutions:
    made = Institutions()
    for name in (PSP, "biller:a"):
        made.describe(name, places=100, longest_call_seconds=1.0, late_effect_seconds=60.0)
    return made


async def add(
    engine: AsyncEngine,
    institution: str = PSP,
    *,
    leg: str = "authorize",
    lease_seconds: float | None = None,
    kind: str = "payment",
    due_in: float = 0.0,
) -> UUID:
    """One errand, with its `due_at` moved by so many seconds."""
    id = uuid4()
    async with engine.begin() as connection:
        new = NewErrand(kind, id, institution, leg, lease_seconds)
        assert await queue.add(connection, [new]) == {(kind, id)}
    await move(engine, id, due_at=due_in)
    return id


async def move(engine: AsyncEngine, id: UUID, **seconds: float) -> None:
    """Move times of an errand by so many seconds."""
    sets = ", ".join(f"{name} = {name} + :{name} * interval '1 second'" for name in seconds)
    await run(engine, f"UPDATE errands SET {sets} WHERE subject = :id", id=id, **seconds)


async def run(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def row(engine: AsyncEngine, id: UUID) -> Mapping[str, Any]:
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT e.*, due_at - now() AS due_in FROM errands e WHERE subject = :id"),
            {"id": id},
        )
        return dict(found.mappings().one())


async def claim(engine: AsyncEngine, places: int = 100, institution: str = PSP) -> list[Errand]:
    async with engine.begin() as connection:
        return await queue.claim(connection, {institution: (places, LEASE_SECONDS)})


async def settle(engine: AsyncEngine, *turns: Turn) -> None:
    async with engine.begin() as connection:
        await queue.lock(connection, [each.errand for each in turns])
        await queue.settle(connection, turns)


async def claimed(engine: AsyncEngine, institutions: Institutions, **new: Any) -> Turn:
    """A run of a new errand."""
    await add(engine, **new)
    [errand] = await claim(engine)
    return turn(errand, institutions)


async def again(engine: AsyncEngine, institutions: Institutions, id: UUID) -> Turn:
    """The next run of this errand."""
    await run(engine, "UPDATE errands SET due_at = now() WHERE subject = :id", id=id)
    [errand] = [each for each in await claim(engine) if each.subject == id]
    return turn(errand, institutions)


class TestAdd:
    async def test_what_is_there_stays_as_it_is(self, engine: AsyncEngine) -> None:
        id = await add(engine, lease_seconds=30.0)
        before = await row(engine, id)
        other = NewErrand("payment", uuid4(), PSP, "authorize")
        async with engine.begin() as connection:
            same = NewErrand("payment", id, "biller:a", "apply")
            assert await queue.add(connection, [same, other]) == {("payment", other.subject)}
            assert await queue.add(connection, []) == set()
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
            assert await queue.add(connection, new) == {("refund", id)}


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
            await queue.claim(connection, {PSP: (1, LEASE_SECONDS)})
            since = await connection.scalar(text("SELECT now()"))
        assert (await row(engine, id))["due_at"] - since >= timedelta(seconds=LEASE_SECONDS + 0.3)

    async def test_two_never_get_the_same(self, engine: AsyncEngine) -> None:
        ids = {await add(engine) for _ in range(6)}
        async with engine.begin() as one, engine.begin() as other:
            first = await queue.claim(one, {PSP: (4, LEASE_SECONDS)})
            second = await queue.claim(other, {PSP: (4, LEASE_SECONDS)})
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
        mine = turn(errand, institutions)
        mine.answered()
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
            found = await queue.claim(
                connection, {PSP: (2, LEASE_SECONDS), "biller:a": (10, LEASE_SECONDS)}
            )
        assert sorted(each.institution for each in found) == [*["biller:a"] * 4, *[PSP] * 2]

    async def test_what_is_not_due_waits(self, engine: AsyncEngine) -> None:
        await add(engine, due_in=5.0)
        assert await claim(engine) == []

    async def test_others_leave_alone_kinds_that_they_do_not_know(
        self, engine: AsyncEngine
    ) -> None:
        ids = [await add(engine, kind=kind) for kind in ("of_the_future", "payment", "refund")]
        async with engine.begin() as connection:
            wanted = {PSP: (2, LEASE_SECONDS)}
            found = await queue.claim(connection, wanted, kinds=["payment", "refund"])
        assert {each.subject for each in found} == set(ids[1:])
        untouched = await row(engine, ids[0])
        assert (untouched["fence"], untouched["held"]) == (0, False)


class TestSettle:
    async def test_progress_is_due_at_once_and_nothing_is_on_its_way(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        mine.answered()
        assert await mine.begin("apply", "biller:a")
        await settle(engine, mine)
        found = await row(engine, mine.errand.subject)
        assert (found["institution"], found["leg"], found["held"]) == ("biller:a", "apply", False)
        assert (found["unknown_since"], found["sent_at"], found["tries"]) == (None, None, 0)
        assert found["due_in"] <= timedelta(0)

    async def test_what_has_no_answer_has_been_so_since_the_first_time(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.unknown()
        await settle(engine, mine)
        first = await row(engine, id)
        assert first["unknown_since"] == first["sent_at"] is not None
        assert first["tries"] == 1
        await move(engine, id, unknown_since=-100, sent_at=-100, leg_since=-200)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert mine.maybe_sent
        mine.unknown()
        await settle(engine, mine)
        second = await row(engine, id)
        assert second["unknown_since"] == before["unknown_since"]
        assert second["leg_since"] == before["leg_since"]
        assert second["sent_at"] > before["sent_at"], "it went out once more"
        assert second["tries"] == 2
        assert second["due_in"] > first["due_in"]

    async def test_another_leg_without_an_answer_begins_to_count_anew(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.unknown()
        await settle(engine, mine)
        await move(engine, id, unknown_since=-100, sent_at=-100, leg_since=-100)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        mine.answered()
        assert await mine.begin("apply", "biller:a")
        mine.unknown()
        await settle(engine, mine)
        after = await row(engine, id)
        assert after["unknown_since"] > before["unknown_since"]
        assert after["leg_since"] > before["leg_since"]

    async def test_an_answer_ends_what_was_unknown(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.unknown()
        await settle(engine, mine)
        mine = await again(engine, institutions, id)
        mine.answered()
        mine.wait(15.0)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["unknown_since"], found["sent_at"], found["tries"]) == (None, None, 0)
        assert timedelta(seconds=10) < found["due_in"] <= timedelta(seconds=15)

    async def test_a_refusal_that_proves_nothing_leaves_the_call_on_its_way(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """It waits until the call can have no effect any more, counted from when it went out."""
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.unknown()
        await settle(engine, mine)
        await move(engine, id, sent_at=-20, unknown_since=-20)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert not mine.quiet
        mine.wait(mine.quiet_in_seconds)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["sent_at"], found["unknown_since"]) == (before["sent_at"], None)
        assert timedelta(seconds=35) < found["due_in"] <= timedelta(seconds=40)
        await move(engine, id, sent_at=-41)
        mine = await again(engine, institutions, id)
        assert mine.maybe_sent
        assert mine.quiet

    async def test_a_leg_at_the_same_institution_keeps_what_is_on_its_way(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """As an apply without an answer, and then an unapply: the apply may still come."""
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.unknown()
        await settle(engine, mine)
        before = await row(engine, id)
        mine = await again(engine, institutions, id)
        assert await mine.begin("unapply", PSP)
        mine.wait(1.0)
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["leg"], found["sent_at"]) == ("unapply", before["sent_at"])

    async def test_a_new_attempt_is_written_down_before_it_is_made(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        mine = await claimed(engine, institutions)
        id = mine.errand.subject
        mine.try_anew()
        await settle(engine, mine)
        found = await row(engine, id)
        assert (found["attempt"], found["sent_at"], found["unknown_since"]) == (2, None, None)
        assert found["tries"] == 1, "it is no progress, so the waits grow"
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

    async def test_only_whoever_holds_it_settles(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        slow = await claimed(engine, institutions)
        id = slow.errand.subject
        await move(engine, id, due_at=-LEASE_SECONDS - 1)
        quick = await again(engine, institutions, id)
        slow.unknown()
        async with engine.begin() as connection:
            await record(connection, [slow])
        found = await row(engine, id)
        assert (found["held"], found["unknown_since"], found["fence"]) == (True, None, 2)
        quick.wait(30.0)
        async with engine.begin() as connection:
            await record(connection, [slow, quick])
        found = await row(engine, id)
        assert (found["held"], found["unknown_since"]) == (False, None)

    async def test_whoever_ended_it_ends_the_errand_too(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """A slow process came further than the one that holds it now."""
        slow = await claimed(engine, institutions)
        id = slow.errand.subject
        await move(engine, id, due_at=-LEASE_SECONDS - 1)
        await again(engine, institutions, id)
        async with engine.begin() as connection:
            await record(connection, [slow], ended=True)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM errands")) == 0


class Result:
    """How far an aggregate came."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.case: str | None = None
        self.subject = Subject(Kind(turn.errand.kind), turn.errand.subject)


async def record(
    connection: AsyncConnection, turns: Sequence[Turn], *, ended: bool = False
) -> None:
    """As a use case records, with the aggregates' rows locked."""

    locked = await errands.lock(connection, [each.errand for each in turns])
    results = [Result(each) for each in turns]
    await record_errands(
        connection, results, locked, [each.subject for each in results] if ended else []
    )


class TestMakeDue:
    async def test_what_waits_is_due_at_once(self, engine: AsyncEngine) -> None:
        id, other = await add(engine, due_in=100.0), await add(engine, due_in=100.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 1
        assert [each.subject for each in await claim(engine)] == [id]
        assert (await row(engine, other))["due_in"] > timedelta(seconds=90)

    async def test_what_a_process_has_in_hand_stays_there(self, engine: AsyncEngine) -> None:
        id = await add(engine, lease_seconds=30.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 0
        assert await claim(engine) == []

    async def test_what_is_due_keeps_its_turn(self, engine: AsyncEngine) -> None:
        id = await add(engine, due_in=-50.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)]) == 0
        assert (await row(engine, id))["due_in"] < timedelta(seconds=-45)

    async def test_only_where_it_was_meant(self, engine: AsyncEngine) -> None:
        id = await add(engine, "biller:a", due_in=100.0)
        async with engine.begin() as connection:
            assert await queue.make_due(connection, [("payment", id)], PSP) == 0
            assert await queue.make_due(connection, [("payment", id)], "biller:a") == 1


class TestRecall:
    async def unknown(self, engine: AsyncEngine, since: float, due_in: float = 600.0) -> UUID:
        id = await add(engine)
        await run(
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

    async def test_they_come_in_the_order_in_which_they_came_to_wait(
        self, engine: AsyncEngine
    ) -> None:
        since = {await self.unknown(engine, n): n for n in (20.0, 500.0, 90.0)}
        fresh = await add(engine, due_in=-50.0)
        async with engine.begin() as connection:
            assert await queue.recall(connection, PSP) == 3
        order = [(await claim(engine, places=1))[0].subject for _ in range(4)]
        assert [since.get(each) for each in order] == [500.0, 90.0, None, 20.0]
        assert order[2] == fresh

    async def test_what_waits_for_something_else_goes_on_waiting(self, engine: AsyncEngine) -> None:
        """For a payer who confirms, for instance; or at another institution; or in a process's hand."""
        for_the_payer = await add(engine, due_in=15.0)
        elsewhere = await self.unknown(engine, 20.0)
        held = await self.unknown(engine, 20.0)
        await run(
            engine,
            "UPDATE errands SET institution = 'biller:a' WHERE subject = :id",
            id=elsewhere,
        )
        await run(engine, "UPDATE errands SET held = true WHERE subject = :id", id=held)
        async with engine.begin() as connection:
            assert await queue.recall(connection, PSP) == 0
        for id in (for_the_payer, elsewhere, held):
            assert (await row(engine, id))["due_in"] > timedelta(0)

    async def test_it_waits_for_nobody(self, engine: AsyncEngine) -> None:
        """Whoever claims holds no aggregate, so a lock that it waited for could be a circle."""
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

    async def test_what_waits_for_a_place(self, engine: AsyncEngine) -> None:
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
    async def test_what_may_have_been_sent_is_left_alone(
        self, engine: AsyncEngine, change: str
    ) -> None:
        id = await add(engine, due_in=-3_000.0)
        await run(engine, f"UPDATE errands SET {change} WHERE subject = :id", id=id)
        assert await self.waiting(engine) == []
        assert not await self.redirect(engine, id)
        assert (await row(engine, id))["leg"] == "authorize"

    async def test_what_has_got_further_meanwhile_is_left_alone(self, engine: AsyncEngine) -> None:
        """It was marked at its biller between the look and the redirection, and waits for a place to be captured."""
        id = await add(engine, due_in=-3_000.0)
        assert await self.waiting(engine) == [id]
        await run(engine, "UPDATE errands SET leg = 'capture' WHERE subject = :id", id=id)
        assert not await self.redirect(engine, id)

    async def test_it_waits_for_nobody_who_claims(
        self, engine: AsyncEngine, institutions: Institutions
    ) -> None:
        """What somebody claims in this moment is in hand when the redirection gets to it."""
        id = await add(engine, due_in=-3_000.0)
        assert await self.waiting(engine) == [id]
        await claim(engine)
        assert not await self.redirect(engine, id)


class TestLook:
    async def test_where_errands_are_due_and_what_is_paused(self, engine: AsyncEngine) -> None:
        for name, due_in in (("biller:a", 0.0), ("biller:a", -5.0), ("biller:b", 50.0), (PSP, -1)):
            await add(engine, name, due_in=due_in)
        await run(
            engine, "INSERT INTO paused_institutions (institution) VALUES ('biller:c'), ('psp')"
        )
        async with engine.connect() as connection:
            found = await queue.look(connection)
        assert sorted(found) == [("biller:a", False), ("biller:c", True), ("psp", True)]

    async def test_an_empty_table(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            assert await queue.look(connection) == []

    async def test_its_cost_does_not_grow_with_the_backlog(
        self, engine: AsyncEngine, owner_engine: AsyncEngine
    ) -> None:
        fill = """
            INSERT INTO errands (kind, subject, institution, leg, due_at)
            SELECT 'payment', gen_random_uuid(), 'biller:' || n % 3, 'apply', now() - n * interval '1 millisecond'
            FROM generate_series(1, :rows) AS n
        """
        await run(owner_engine, fill, rows=1_000)
        await analyze(owner_engine)
        few = await look_plan(engine)
        await run(owner_engine, fill, rows=49_000)
        await analyze(owner_engine)
        many = await look_plan(engine)
        assert "Seq Scan on errands" not in many.said
        assert "ix_errands_institution_due_at" in many.said
        assert many.rows <= 20, "a few rows for each institution"
        assert many.pages <= 2 * few.pages + 20
        async with engine.connect() as connection:
            assert {each.institution for each in await queue.look(connection)} == {
                "biller:0",
                "biller:1",
                "biller:2",
            }

    async def test_a_claim_reads_what_it_takes(
        self, engine: AsyncEngine, owner_engine: AsyncEngine
    ) -> None:
        await run(
            owner_engine,
            """
            INSERT INTO errands (kind, subject, institution, leg, due_at)
            SELECT 'payment', gen_random_uuid(), 'biller:' || n % 3, 'apply', now() - n * interval '1 millisecond'
            FROM generate_series(1, 50000) AS n
            """,
        )
        await analyze(owner_engine)
        wanted = {
            "institutions": ["biller:0"],
            "places": [8],
            "leases": [60.0],
            "kinds": ["payment"],
        }
        plan = await explain(engine, str(queue._CLAIM), wanted)
        assert "Seq Scan on errands" not in plan.said
        assert plan.pages < 400


class Plan:
    """What EXPLAIN (ANALYZE, BUFFERS) tells of one execution."""

    def __init__(self, root: dict[str, Any]) -> None:
        nodes = list(_nodes(root))
        self.said = " ".join(
            f"{each['Node Type']} on {each.get('Relation Name')} by {each.get('Index Name')}"
            for each in nodes
        )
        self.pages = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        self.rows = max(
            each["Actual Rows"] * each["Actual Loops"]
            for each in nodes
            if each.get("Relation Name") == "errands"
        )


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(found for each in node.get("Plans", []) for found in _nodes(each))]


async def analyze(owner: AsyncEngine) -> None:
    async with owner.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE errands"))


async def look_plan(engine: AsyncEngine) -> Plan:
    return await explain(engine, str(queue._DUE), {})


async def explain(engine: AsyncEngine, statement: str, values: Mapping[str, Any]) -> Plan:
    async with engine.begin() as connection:
        found = await connection.scalar(
            text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"), values
        )
        root = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        await connection.rollback()
        return Plan(root)

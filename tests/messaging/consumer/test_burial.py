"""Whoever waits for a record learns in the transaction of its dead letter that nothing will come of it."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messaging.consumer import Dead
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import Handled, commits, consuming, good, letters
from tests.messaging.witness import until, write
from tests.support.databases import Database


class Waiting:
    """Remembers what it is told, with the number of dead letters that it sees; then it breaks, if it should."""

    def __init__(self, *, broken: str = "") -> None:
        self.told: list[tuple[int, str, int]] = []
        self._broken = broken

    async def __call__(self, connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        seen = await connection.scalar(text("SELECT count(*) FROM outbox WHERE raw IS NOT NULL"))
        self.told += [(each.record.offset, each.reason, int(seen or 0)) for each in dead]
        if self._broken:
            await connection.execute(text(self._broken))


async def test_it_is_told_with_the_letters_and_of_nothing_else(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    bad = good(lane, 1) | {"value": b"{not json"}
    write(kafka, lane.topic.name, [good(lane, 0), bad, good(lane, 2), bad])
    waiting = Waiting()
    async with consuming(lane, kafka, engine, Handled(), buried=waiting):
        await until(commits(kafka, lane, 4), "all offsets are committed")
    assert {each[:2] for each in waiting.told} == {(1, "bad_value"), (3, "bad_value")}
    assert all(seen > 0 for *_, seen in waiting.told), "the letters are in its transaction"
    assert len(await letters(database, kafka, lane)) == 2


async def test_when_it_breaks_the_letter_is_kept_and_its_neighbours_go_on(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    write(kafka, lane.topic.name, [good(lane, 0) | {"value": b"{not json"}, good(lane, 1)])
    handler = Handled()
    async with consuming(
        lane, kafka, engine, handler, buried=Waiting(broken="SELECT 1 / 0")
    ) as batches:
        await until(commits(kafka, lane, 2), "all offsets are committed")
        assert await batches.progress() is None
    assert handler.numbers == [1]
    assert [each.reason for each in await letters(database, kafka, lane)] == ["bad_value"]


async def test_when_the_database_fails_letter_and_telling_are_done_again(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    write(kafka, lane.topic.name, [good(lane, 0) | {"value": b"{not json"}])
    waiting = Waiting(broken="SELECT pg_terminate_backend(pg_backend_pid())")

    async def cut_once(connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        try:
            await waiting(connection, dead)
        finally:
            waiting._broken = ""

    async with consuming(lane, kafka, engine, Handled(), buried=cut_once):
        await until(commits(kafka, lane, 1), "the offset is committed")
    assert len(waiting.told) == 2
    assert len(await letters(database, kafka, lane)) == 1, "the first was rolled back"

"""A service is notified of a dead record in the transaction that writes its dead letter."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messaging.consumer import Dead
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import (
    RecordingHandler,
    consuming,
    has_committed,
    published_dead_letters,
    valid_record,
)
from tests.messaging.witness import produce, wait_until
from tests.support.databases import Database


class RecordingCallback:
    """Records its calls with the number of dead letters that it sees, then runs the statement `broken`, if given."""

    def __init__(self, *, broken: str = "") -> None:
        self.calls: list[tuple[int, str, int]] = []
        self._broken = broken

    async def __call__(self, connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        seen = await connection.scalar(text("SELECT count(*) FROM outbox WHERE raw IS NOT NULL"))
        self.calls += [(each.record.offset, each.reason, int(seen or 0)) for each in dead]
        if self._broken:
            await connection.execute(text(self._broken))


async def test_the_callback_gets_the_dead_records_in_the_transaction_of_their_letters(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    bad = valid_record(lane, 1) | {"value": b"{not json"}
    produce(kafka, lane.topic.name, [valid_record(lane, 0), bad, valid_record(lane, 2), bad])
    callback = RecordingCallback()
    async with consuming(lane, kafka, engine, RecordingHandler(), buried=callback):
        await wait_until(has_committed(kafka, lane, 4), "all offsets are committed")
    assert {each[:2] for each in callback.calls} == {(1, "bad_value"), (3, "bad_value")}
    assert all(seen > 0 for *_, seen in callback.calls), "the letters are in its transaction"
    assert len(await published_dead_letters(database, kafka, lane)) == 2


async def test_a_failing_callback_neither_loses_the_letter_nor_stops_other_records(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    produce(
        kafka,
        lane.topic.name,
        [valid_record(lane, 0) | {"value": b"{not json"}, valid_record(lane, 1)],
    )
    handler = RecordingHandler()
    async with consuming(
        lane, kafka, engine, handler, buried=RecordingCallback(broken="SELECT 1 / 0")
    ) as batches:
        await wait_until(has_committed(kafka, lane, 2), "all offsets are committed")
        assert await batches.progress() is None
    assert handler.numbers == [1]
    assert [each.reason for each in await published_dead_letters(database, kafka, lane)] == [
        "bad_value"
    ]


async def test_after_a_lost_connection_letter_and_callback_are_repeated(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    produce(kafka, lane.topic.name, [valid_record(lane, 0) | {"value": b"{not json"}])
    callback = RecordingCallback(broken="SELECT pg_terminate_backend(pg_backend_pid())")

    async def cut_once(connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        try:
            await callback(connection, dead)
        finally:
            callback._broken = ""

    async with consuming(lane, kafka, engine, RecordingHandler(), buried=cut_once):
        await wait_until(has_committed(kafka, lane, 1), "the offset is committed")
    assert len(callback.calls) == 2
    assert len(await published_dead_letters(database, kafka, lane)) == 1, (
        "the first was rolled back"
    )

"""China's clock: a day there ends at 16:00 UTC, in Python and in PostgreSQL alike."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import ZONE_NAME, bounds_of, day_of, today

DAY = date(2026, 11, 23)


def test_a_day_begins_at_midnight_and_the_next_one_when_it_is_over() -> None:
    begins, over = bounds_of(DAY)
    assert begins == datetime(2026, 11, 22, 16, tzinfo=UTC)
    assert over == bounds_of(DAY + timedelta(days=1))[0]
    assert day_of(begins) == day_of(over - timedelta(microseconds=1)) == DAY
    assert day_of(over) == DAY + timedelta(days=1)


def test_a_moment_is_written_with_its_offset() -> None:
    assert bounds_of(DAY)[0].isoformat() == "2026-11-23T00:00:00+08:00"


def test_today_is_the_day_of_now() -> None:
    before = day_of(datetime.now(UTC))
    assert before <= today() <= day_of(datetime.now(UTC))


@pytest.mark.parametrize("year", [1992, 2026, 2199])
async def test_the_database_counts_the_same_days(engine: AsyncEngine, year: int) -> None:
    days = text(
        f"SELECT CAST(CAST(:moment AS timestamptz) AT TIME ZONE '{ZONE_NAME}' AS date) AS day"
    )
    async with engine.connect() as connection:
        for month in range(1, 13):
            begins, over = bounds_of(date(year, month, 1))
            for moment in (begins, over - timedelta(seconds=1)):
                assert await connection.scalar(days, {"moment": moment}) == day_of(moment)

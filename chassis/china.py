"""China's clock: the one time zone by which payers, billers, banks and statements count their days.

China has had no summer time since 1991, so a fixed offset is enough.
"""

from datetime import date, datetime, time, timedelta, timezone

# PostgreSQL's name of the zone, for `AT TIME ZONE '…'`.
ZONE_NAME = "Asia/Shanghai"
OFFSET = timedelta(hours=8)
CHINA = timezone(OFFSET, ZONE_NAME)


def day_of(moment: datetime) -> date:
    """Return the day in China on which an aware moment falls."""
    return moment.astimezone(CHINA).date()


def today() -> date:
    """Return the present day in China."""
    return datetime.now(CHINA).date()


def bounds_of(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of a day, and the first moment of the day after."""
    begins = datetime.combine(day, time(), CHINA)
    return begins, begins + timedelta(days=1)

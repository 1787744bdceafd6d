"""China's clock: the one time zone by which payers, billers, banks and statements count their days.

China has had no summer time since 1991, so an offset says all.
"""

from datetime import date, datetime, time, timedelta, timezone

# As PostgreSQL calls the zone: `AT TIME ZONE '…'`.
ZONE_NAME = "Asia/Shanghai"
OFFSET = timedelta(hours=8)
CHINA = timezone(OFFSET, ZONE_NAME)


def day_of(moment: datetime) -> date:
    """The day on which an aware moment falls in China."""
    return moment.astimezone(CHINA).date()


def today() -> date:
    """The day that it is in China."""
    return datetime.now(CHINA).date()


def bounds_of(day: date) -> tuple[datetime, datetime]:
    """When a day begins, and when it is over: the first moment that no longer belongs to it."""
    begins = datetime.combine(day, time(), CHINA)
    return begins, begins + timedelta(days=1)

"""China's clock on the wall, which billers and the demo look at: one time zone, and no summer time."""

from datetime import datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))


def day_of(at: int) -> str:
    """The calendar day in China, YYYYMMDD."""
    return f"{datetime.fromtimestamp(at, CHINA):%Y%m%d}"


def iso(at: int) -> str:
    """The moment on a clock in China, 2026-11-23T09:30:00+08:00."""
    return datetime.fromtimestamp(at, CHINA).isoformat()

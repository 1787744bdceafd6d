"""Unix seconds as the billers write them, by China's clock."""

from datetime import datetime

from chassis.china import CHINA


def day_of(at: int) -> str:
    """The calendar day in China, YYYYMMDD."""
    return f"{datetime.fromtimestamp(at, CHINA):%Y%m%d}"


def iso(at: int) -> str:
    """The moment on a clock in China, 2026-11-23T09:30:00+08:00."""
    return datetime.fromtimestamp(at, CHINA).isoformat()

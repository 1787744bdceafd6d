"""An institution for tests, and runs that wait in line for its places."""

import asyncio
from collections.abc import Awaitable

from errands import Institution, Institutions

# Longer than any of these tests takes.
PATIENT = 30.0


def describe(at: Institutions, places: int = 2, line: int = 2) -> Institution:
    """Describe the institution of a test."""
    return at.describe(
        "psp", places=places, line=line, longest_call_seconds=1.0, late_effect_seconds=60.0
    )


async def in_line(*entering: Awaitable[bool]) -> list[asyncio.Task[bool]]:
    """Start these waits; return their tasks once all are in line, in this order."""
    tasks = [asyncio.ensure_future(each) for each in entering]
    await settled()
    return [task for task in tasks if isinstance(task, asyncio.Task)]


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)

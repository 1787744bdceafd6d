"""The timer's clockwork: what failed comes again soon, what was slow once is not late the next time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from services.billing import timer


async def turns_of(
    seconds: float, job: Callable[[int], Awaitable[int]], turns: int = 3
) -> list[float]:
    """When the job began its turns, in seconds since the first."""
    began: list[float] = []
    enough = asyncio.Event()

    async def noted() -> int:
        began.append(time.monotonic())
        if len(began) == turns:
            enough.set()
        return await job(len(began))

    running = asyncio.create_task(timer.every(seconds, "tested", noted))
    await asyncio.wait_for(enough.wait(), 50)
    running.cancel()
    return [each - began[0] for each in began]


async def test_a_job_runs_again_at_once_while_there_is_something_to_do() -> None:
    async def done(turn: int) -> int:
        return 1

    assert (await turns_of(60.0, done))[-1] < 60.0


async def test_a_job_that_failed_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "RETRY_SECONDS", 0.05)

    async def fails(turn: int) -> int:
        raise ZeroDivisionError

    took = (await turns_of(60.0, fails))[-1]
    assert 0.1 <= took < 60.0


async def test_a_job_that_was_held_up_is_not_late_the_next_time() -> None:
    async def slow(turn: int) -> int:
        await asyncio.sleep(0.1)
        return 0

    assert (await turns_of(0.01, slow, turns=2))[1] < 0.5

"""A handler for errands of any kind, whose calls hang or go unanswered as a test wishes, and the errands for it."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import Errand, ErrandHandler, ErrandRun, NewErrand

HANGS, WELL, OTHER = "biller:hangs", "biller:well", "psp"
PATIENCE_SECONDS = 10.0


class Job(NamedTuple):
    """An item of work: nothing but its errand."""

    errand: Errand


class Done(NamedTuple):
    """The result of a job's run."""

    job: Job
    run: ErrandRun


class Workplace:
    """Carries out errands; `begun` and `ended` list the subjects of the errands that were run, by institution, in
    order.
    """

    def __init__(self) -> None:
        self.begun: dict[str, list[UUID]] = defaultdict(list)
        self.ended: dict[str, list[UUID]] = defaultdict(list)
        self.unanswered: set[str] = set()
        self.broken = False
        self._gates: dict[str, asyncio.Event] = {}
        self.at_once: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)

    def hang(self, institution: str) -> asyncio.Event:
        """Make the calls to this institution wait for the returned event."""
        return self._gates.setdefault(institution, asyncio.Event())

    def handler(self, kind: str) -> ErrandHandler[Job, Done]:
        return ErrandHandler(kind, self._read, self._run, self._record, self._broke, self._broke)

    async def _read(self, _: AsyncConnection, claimed: Sequence[Errand]) -> list[Job]:
        if self.broken:
            raise ValueError("a defect of ours")
        return [Job(each) for each in claimed]

    async def _run(self, job: Job, run: ErrandRun) -> Done:
        name = run.institution
        self.begun[name].append(job.errand.subject)
        self.at_once[name] += 1
        self.most[name] = max(self.most[name], self.at_once[name])
        try:
            if gate := self._gates.get(name):
                await gate.wait()
        finally:
            self.at_once[name] -= 1
        run.report(answered=name not in self.unanswered)
        if name in self.unanswered:
            run.note_unknown()
        return Done(job, run)

    async def _record(self, connection: AsyncConnection, results: Sequence[Done]) -> int:
        await errands.lock(connection, [each.job.errand for each in results])
        unanswered = [each.run for each in results if each.run.unanswered]
        await errands.settle(connection, unanswered)
        done = [each.job.errand for each in results if not each.run.unanswered]
        await errands.end(connection, [each.key for each in done])
        for errand in done:
            self.ended[errand.institution].append(errand.subject)
        return len(results)

    async def _broke(self, _: object, error: Exception) -> None:
        raise error


async def until(condition: object, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    assert callable(condition)
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.002)


async def plant(
    engine: AsyncEngine, institution: str, count: int, kind: str = "payment"
) -> list[UUID]:
    """Add `count` due errands; return their subjects in the order of their due times."""
    ids = [uuid4() for _ in range(count)]
    async with engine.begin() as connection:
        await errands.add(connection, [NewErrand(kind, id, institution, "call") for id in ids])
        await connection.execute(
            text("""
                UPDATE errands SET due_at = now() - interval '1 minute' + n * interval '1 millisecond'
                FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS o (id, n) WHERE subject = o.id
            """),
            {"ids": ids},
        )
    return ids


async def left(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM errands")) or 0)

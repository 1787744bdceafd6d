"""Rows of errands for tests: plant, claim, settle and read them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Errand, ErrandRun, Institutions, NewErrand, queue
from tests.support.errands import errand_run

PSP = "psp"
LEASE_SECONDS = 60.0


def described() -> Institutions:
    """A process's institutions: the PSP and a biller with many places."""
    institutions = Institutions()
    for name in (PSP, "biller:a"):
        institutions.describe(name, places=100, longest_call_seconds=1.0, late_effect_seconds=60.0)
    return institutions


async def add(
    engine: AsyncEngine,
    institution: str = PSP,
    *,
    leg: str = "authorize",
    lease_seconds: float | None = None,
    kind: str = "payment",
    due_in: float = 0.0,
) -> UUID:
    """Add an errand that is due in `due_in` seconds; return its subject."""
    id = uuid4()
    async with engine.begin() as connection:
        new = NewErrand(kind, id, institution, leg, lease_seconds)
        assert (await queue.add(connection, [new])).keys() == {(kind, id)}
    await move(engine, id, due_at=due_in)
    return id


async def move(engine: AsyncEngine, id: UUID, **seconds: float) -> None:
    """Move the given times of an errand by the given seconds."""
    sets = ", ".join(f"{name} = {name} + :{name} * interval '1 second'" for name in seconds)
    await execute(engine, f"UPDATE errands SET {sets} WHERE subject = :id", id=id, **seconds)


async def execute(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def row(engine: AsyncEngine, id: UUID) -> Mapping[str, Any]:
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT e.*, due_at - now() AS due_in FROM errands e WHERE subject = :id"),
            {"id": id},
        )
        return dict(found.mappings().one())


async def claim(engine: AsyncEngine, places: int = 100, institution: str = PSP) -> list[Errand]:
    async with engine.begin() as connection:
        return await queue.claim(connection, {institution: places}, LEASE_SECONDS)


async def settle(engine: AsyncEngine, *runs: ErrandRun) -> None:
    async with engine.begin() as connection:
        await queue.lock(connection, [each.errand for each in runs])
        await queue.settle(connection, runs)


async def claimed(engine: AsyncEngine, institutions: Institutions, **new: Any) -> ErrandRun:
    """Add and claim an errand; return its run."""
    await add(engine, **new)
    [errand] = await claim(engine)
    return errand_run(errand, institutions)


async def again(engine: AsyncEngine, institutions: Institutions, id: UUID) -> ErrandRun:
    """Make the errand due and claim it; return its next run."""
    await execute(engine, "UPDATE errands SET due_at = now() WHERE subject = :id", id=id)
    [errand] = [each for each in await claim(engine) if each.subject == id]
    return errand_run(errand, institutions)

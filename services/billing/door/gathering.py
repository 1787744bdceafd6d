"""The HTTP door: what is asked for at one time is promised in one transaction, whether payments, refunds or top-ups.

For each of them an answer means what it meant alone: 202 that its promise, its idempotency key and its command are
kept for good, a problem that nothing of it is. See docs/decisions/0009-the-door-shares-transactions.md.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.http.batcher import Batcher
from chassis.http.problems import Problem
from events.message import Event
from events.payments import PayBill, RefundPayment, TopUpWallet
from events.signature import SigningKey
from messaging.transient import is_transient
from services.billing.channels import Claim, KeyUse, claim_keys, release_keys
from services.billing.door import payments, refunds, top_ups
from services.billing.door.promise import Command, Promise, write_promises

# A key that another process holds is free again after milliseconds, or its holder hangs: then whoever shares a
# transaction with the one who wants it must not hang as well.
_PATIENCE = "500ms"
_LOCK_NOT_AVAILABLE = "55P03"

# For commands of each type: the objection to each, or its promise.
_EXAMINE: Mapping[
    type[Event],
    Callable[[AsyncConnection, Sequence[Any]], Awaitable[Sequence[Promise | Problem]]],
] = {
    PayBill: payments.examine,
    RefundPayment: refunds.examine,
    TopUpWallet: top_ups.examine,
}


class Asked(NamedTuple):
    """What a channel asks for under an idempotency key; `command` has the id that the key would stand for."""

    use: KeyUse
    command: Command
    correlation_id: str | None


class Door:
    """One for the process. `key` signs its commands."""

    def __init__(self, engine: AsyncEngine, key: SigningKey | None) -> None:
        self._engine = engine
        self._key = key
        self._batcher = Batcher(self._promise, concerns_all=_concerns_all)

    async def promise(self, asked: Asked) -> Claim:
        """Promise it, or find what its key stands for. Raises a Problem, or what the database raises."""
        return await self._batcher.submit(asked, asked.use[:2])

    async def drain(self) -> None:
        """Wait until everybody has an answer."""
        await self._batcher.drain()

    async def _promise(self, batch: Sequence[Asked]) -> list[Claim | Exception]:
        async with self._engine.begin() as connection:
            return await promise_batch(connection, batch, self._key)


async def promise_batch(
    connection: AsyncConnection, batch: Sequence[Asked], key: SigningKey | None
) -> list[Claim | Exception]:
    """Promise these in the caller's transaction; what came of each, in their order. No key may be there twice."""
    claims = await claim_keys(connection, [each.use for each in batch], _PATIENCE)
    outcomes: list[Claim | Exception] = [*claims]
    new = {
        position: batch[position].command
        for position, claim in enumerate(claims)
        if isinstance(claim, Claim) and not claim.replayed
    }
    promises: list[tuple[Promise, str | None]] = []
    unused: list[KeyUse] = []
    for position, found in (await _examine(connection, new)).items():
        asked = batch[position]
        if isinstance(found, Problem):
            outcomes[position] = found
            unused.append(asked.use)
        else:
            promises.append((found, asked.correlation_id))
    # An objection leaves the key free: the same key may come with what is right.
    await release_keys(connection, unused)
    await write_promises(connection, promises, key)
    return outcomes


async def _examine(
    connection: AsyncConnection, commands: Mapping[int, Command]
) -> dict[int, Promise | Problem]:
    # By their positions in the batch; each type of command as one set.
    found: dict[int, Promise | Problem] = {}
    for kind, examine in _EXAMINE.items():
        some = {position: each for position, each in commands.items() if isinstance(each, kind)}
        if some:
            examined = await examine(connection, list(some.values()))
            found.update(zip(some, examined, strict=True))
    return found


def _concerns_all(error: Exception) -> bool:
    # A lock that can't be had is one key's trouble, so the batch is halved until that one stands alone.
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
        return False
    return is_transient(error)

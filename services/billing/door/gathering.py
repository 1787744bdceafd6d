"""The HTTP door: payments that are asked for at one time are promised in one transaction.

For each of them an answer means what it meant alone: 202 that its promise, its idempotency key and its command are
kept for good, a problem that nothing of it is. See docs/decisions/0009-the-door-shares-transactions.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.gather import Gather
from chassis.problems import Problem
from events.payments import PayBill
from events.signature import SigningKey
from messaging.transient import is_transient
from services.billing.channels import Claim, KeyUse, claim_keys, release_keys
from services.billing.door import promise as request
from services.billing.door.problems import objection

# A key that another process holds is free again after milliseconds, or its holder hangs: then whoever shares a
# transaction with the one who wants it must not hang as well.
_PATIENCE = "500ms"
_LOCK_NOT_AVAILABLE = "55P03"


class Asked(NamedTuple):
    """A payment that a channel asks for under an idempotency key; `command` has the id that the key would stand for."""

    use: KeyUse
    command: PayBill
    correlation_id: str | None


class Door:
    """One for the process. `key` signs its commands."""

    def __init__(self, engine: AsyncEngine, key: SigningKey | None) -> None:
        self._engine = engine
        self._key = key
        self._gather = Gather(self._promise, concerns_all=_concerns_all)

    async def pay(self, asked: Asked) -> Claim:
        """Promise it, or find what its key stands for. Raises a Problem, or what the database raises."""
        return await self._gather.ask(asked, asked.use[:2])

    async def drain(self) -> None:
        """Wait until everybody has an answer."""
        await self._gather.drain()

    async def _promise(self, batch: Sequence[Asked]) -> list[Claim | Exception]:
        async with self._engine.begin() as connection:
            return await promise(connection, batch, self._key)


async def promise(
    connection: AsyncConnection, batch: Sequence[Asked], key: SigningKey | None
) -> list[Claim | Exception]:
    """Promise these in the caller's transaction; what came of each, in their order. No key may be there twice."""
    claims = await claim_keys(connection, [each.use for each in batch], _PATIENCE)
    outcomes: list[Claim | Exception] = [*claims]
    new = [
        position
        for position, claim in enumerate(outcomes)
        if isinstance(claim, Claim) and not claim.replayed
    ]
    if not new:
        return outcomes
    refused = await request.objections(connection, [batch[position].command for position in new])
    promised = []
    for position in new:
        asked = batch[position]
        if reason := refused.get(asked.command.payment_id):
            outcomes[position] = objection(reason)
        else:
            promised.append(request.of_payment(asked.command, asked.correlation_id))
    # An objection leaves the key free: the same key may come with what is right.
    await release_keys(connection, [batch[p].use for p in new if isinstance(outcomes[p], Problem)])
    await request.promise(connection, promised, key)
    return outcomes


def _concerns_all(error: Exception) -> bool:
    # A lock that can't be had is one key's trouble, so the batch is halved until that one stands alone.
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
        return False
    return is_transient(error)

"""The HTTP door: concurrent requests for payments, refunds and top-ups are promised in one transaction.

Each request is answered as if it were alone: 202 when its promise, its idempotency key and its command are stored, a
problem when none of them is. See docs/decisions/0009-the-door-shares-transactions.md.
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

# A key that another process has locked is free again after milliseconds, or that process hangs: then the requests that
# share a transaction with this key must not hang as well.
_LOCK_TIMEOUT = "500ms"
_LOCK_NOT_AVAILABLE = "55P03"

# By type of command: the function that returns an objection or a promise for each command.
_EXAMINE: Mapping[
    type[Event],
    Callable[[AsyncConnection, Sequence[Any]], Awaitable[Sequence[Promise | Problem]]],
] = {
    PayBill: payments.examine,
    RefundPayment: refunds.examine,
    TopUpWallet: top_ups.examine,
}


class DoorRequest(NamedTuple):
    """A channel's request under an idempotency key; `command` has the id that the key would stand for."""

    use: KeyUse
    command: Command
    correlation_id: str | None


class Door:
    """The door of one process. `key` signs its commands."""

    def __init__(self, engine: AsyncEngine, key: SigningKey | None) -> None:
        self._engine = engine
        self._key = key
        self._batcher = Batcher(self._promise, concerns_all=_concerns_all)

    async def promise(self, request: DoorRequest) -> Claim:
        """Promise the request, or return the earlier claim of its key. Raises a Problem, or the database's errors."""
        return await self._batcher.submit(request, request.use[:2])

    async def drain(self) -> None:
        """Wait until every request has its response."""
        await self._batcher.drain()

    async def _promise(self, batch: Sequence[DoorRequest]) -> list[Claim | Exception]:
        async with self._engine.begin() as connection:
            return await promise_batch(connection, batch, self._key)


async def promise_batch(
    connection: AsyncConnection, batch: Sequence[DoorRequest], key: SigningKey | None
) -> list[Claim | Exception]:
    """Promise these requests in the caller's transaction; return their results in the same order.

    No key may occur twice.
    """
    claims = await claim_keys(connection, [each.use for each in batch], _LOCK_TIMEOUT)
    outcomes: list[Claim | Exception] = [*claims]
    new = {
        position: batch[position].command
        for position, claim in enumerate(claims)
        if isinstance(claim, Claim) and not claim.replayed
    }
    promises: list[tuple[Promise, str | None]] = []
    unused: list[KeyUse] = []
    for position, result in (await _examine(connection, new)).items():
        request = batch[position]
        if isinstance(result, Problem):
            outcomes[position] = result
            unused.append(request.use)
        else:
            promises.append((result, request.correlation_id))
    # An objection leaves the key free: a corrected request may use the same key.
    await release_keys(connection, unused)
    await write_promises(connection, promises, key)
    return outcomes


async def _examine(
    connection: AsyncConnection, commands: Mapping[int, Command]
) -> dict[int, Promise | Problem]:
    # By position in the batch; each type of command is examined as one set.
    results: dict[int, Promise | Problem] = {}
    for kind, examine in _EXAMINE.items():
        of_kind = {i: command for i, command in commands.items() if isinstance(command, kind)}
        if of_kind:
            examined = await examine(connection, list(of_kind.values()))
            results.update(zip(of_kind, examined, strict=True))
    return results


def _concerns_all(error: Exception) -> bool:
    # A lock that is not available concerns one key, so the batch is halved until this key is alone.
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
        return False
    return is_transient(error)

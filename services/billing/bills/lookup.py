"""Look bills up: ask the biller what an account owes, a batch of lookups at a time.

tx1 keeps the lookups (those of the HTTP door are kept already), the billers are asked concurrently with no transaction
open, tx2 records bills, states and events in sets (record.py). A lookup that no answer was recorded for is taken again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.bills import LookUpBills
from messaging.burial import Dead
from services.billing.bills.connectors import BillerDown, Connectors, Found
from services.billing.bills.record import Answered, Lookup, record_lookups
from services.billing.bills.statement import nonsense_in
from services.billing.runner import Runner

log = structlog.get_logger()

_KEEP = text("""
    INSERT INTO lookups (id, channel_id, account_id, state, correlation_id)
    SELECT l.id, l.channel_id, l.account_id, 'pending', l.correlation_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:accounts AS uuid[]),
        CAST(:correlations AS text[])) AS l (id, channel_id, account_id, correlation_id)
    JOIN accounts a ON a.id = l.account_id JOIN channels c ON c.id = l.channel_id AND c.active
    ORDER BY l.id
    ON CONFLICT DO NOTHING
""")
_READ = text("""
    SELECT l.id, l.channel_id, l.account_id, a.account_number, a.biller_id, b.currency, b.active, b.settled_by, l.state,
        l.version, l.correlation_id
    FROM lookups l JOIN accounts a ON a.id = l.account_id JOIN billers b ON b.id = a.biller_id
    WHERE l.id = ANY(CAST(:ids AS uuid[]))
""")
_PROMISED = text("""
    SELECT l.id, d.reason
    FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[]), CAST(:reasons AS text[])) AS d (id, command_id, reason)
    JOIN lookups l ON l.id = d.id AND l.command_id = d.command_id AND l.state = 'pending'
""")
_ACCOUNTS = text("SELECT id FROM accounts WHERE id = ANY(CAST(:ids AS uuid[]))")
_TAKE = text("""
    UPDATE lookups SET taken_at = now() WHERE id IN (
        SELECT id FROM lookups WHERE state = 'pending' AND taken_at < now() - CAST(:after AS interval)
        ORDER BY taken_at LIMIT 200 FOR UPDATE SKIP LOCKED)
    RETURNING id
""")

Refusal = Literal["id_reused", "account_unknown", "channel_unknown"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """A LookUpBills as it reached us, by whichever door."""

    command: LookUpBills
    correlation_id: str | None = None


class Lookups:
    """The lookups of one process.

    `resume_after` is how long a process may keep what it has taken before a timer takes it again: longer than most
    billers take to answer, and no harm is done if one takes longer, for asking twice changes nothing.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        connectors: Connectors,
        resume_after: timedelta = timedelta(seconds=20),
    ) -> None:
        self._engine = engine
        self._connectors = connectors
        self._resume_after = resume_after
        self._runner: Runner[Lookup, Answered] = Runner(
            engine, self._ask, record_lookups, self._broke, self._unrecorded
        )

    async def look_up(self, batch: Sequence[Instruction]) -> dict[UUID, Refusal]:
        """Carry out these lookups; returns when they are kept and there is room to ask, not when they are answered.

        A lookup that is finished already stays as it is. Returns why a command could not be kept, by lookup id.
        """
        async with self._engine.begin() as connection:
            await _keep(connection, batch)
            rows = await _read(connection, [each.command.lookup_id for each in batch])
            refused = await _refusals(connection, batch, rows)
        await self._runner.submit(
            [row for id, row in rows.items() if row.pending and id not in refused]
        )
        return refused

    async def resume(self) -> int:
        """Ask again for what was taken and not answered; how many lookups that were."""
        async with self._engine.begin() as connection:
            taken = await connection.execute(_TAKE, {"after": self._resume_after})
            rows = await _read(connection, list(taken.scalars()))
        await self._runner.submit(list(rows.values()))
        return len(rows)

    async def drain(self) -> None:
        """Wait until the billers that are being asked have answered, and the answers are recorded."""
        await self._runner.drain()

    async def aclose(self) -> None:
        """Stop; what is under way is left to the timer."""
        await self._runner.aclose()

    async def _ask(self, lookup: Lookup) -> Answered:
        asked_at = datetime.now(UTC)
        if not lookup.biller_active:
            return Answered(
                lookup, asked_at, BillerDown("the biller is not active"), "biller_inactive"
            )
        connector = await self._connectors.of(lookup.biller_id)
        answer = await connector.lookup(lookup.account_number)
        if isinstance(answer, Found):
            why = nonsense_in(answer.bills, lookup.currency)
            answer = BillerDown(f"nonsense: {why}") if why else answer
        if isinstance(answer, BillerDown):
            log.warning(
                "biller_down", biller=lookup.biller_id, lookup=str(lookup.id), why=answer.why
            )
        return Answered(lookup, asked_at, answer)

    async def fail(self, connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        """End lookups of the HTTP door whose commands died, in the transaction that writes the dead letters."""
        deaths = {
            "ids": [each.key_id for each in dead],
            "commands": [each.message_id for each in dead],
            "reasons": [each.told_reason for each in dead],
        }
        found = await connection.execute(_PROMISED, deaths)
        reasons: dict[UUID, str] = {row.id: row.reason for row in found}
        rows = await _read(connection, list(reasons))
        answer, now = BillerDown("its command is a dead letter"), datetime.now(UTC)
        if rows:
            ended = [Answered(row, now, answer, reasons[id]) for id, row in rows.items()]
            await record_lookups(connection, ended)

    async def _broke(self, lookup: Lookup, error: Exception) -> None:
        await self._fail(lookup, "lookup_broke", error)

    async def _unrecorded(self, result: Answered, error: Exception) -> None:
        await self._fail(result.lookup, "answer_not_recordable", error)

    async def _fail(self, lookup: Lookup, reason: str, error: Exception) -> None:
        # No money hangs on a lookup, so it ends, and the wallet is told: it may ask again.
        answer = BillerDown(type(error).__name__)
        async with self._engine.begin() as connection:
            await record_lookups(connection, [Answered(lookup, datetime.now(UTC), answer, reason)])


async def _keep(connection: AsyncConnection, batch: Sequence[Instruction]) -> None:
    commands = [each.command for each in batch]
    await connection.execute(
        _KEEP,
        {
            "ids": [each.lookup_id for each in commands],
            "channels": [each.channel for each in commands],
            "accounts": [each.account_id for each in commands],
            "correlations": [each.correlation_id for each in batch],
        },
    )


async def _read(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Lookup]:
    if not ids:
        return {}
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return {
        row.id: Lookup(
            id=row.id,
            channel=row.channel_id,
            account_id=row.account_id,
            account_number=row.account_number,
            biller_id=row.biller_id,
            currency=row.currency,
            biller_active=row.active,
            by_file=row.settled_by == "file",
            pending=row.state == "pending",
            version=row.version,
            correlation_id=row.correlation_id,
        )
        for row in rows
    }


async def _refusals(
    connection: AsyncConnection, batch: Sequence[Instruction], rows: dict[UUID, Lookup]
) -> dict[UUID, Refusal]:
    # What is not there was not kept: it names an account or a channel that does not exist.
    refused: dict[UUID, Refusal] = {}
    lost: dict[UUID, UUID] = {}
    for command in (each.command for each in batch):
        row = rows.get(command.lookup_id)
        if row is None:
            lost[command.lookup_id] = command.account_id
        elif (row.channel, row.account_id) != (command.channel, command.account_id):
            refused[command.lookup_id] = "id_reused"
    if lost:
        known = set((await connection.execute(_ACCOUNTS, {"ids": list(lost.values())})).scalars())
        for id, account_id in lost.items():
            refused[id] = "channel_unknown" if account_id in known else "account_unknown"
    return refused

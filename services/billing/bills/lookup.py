"""Look up what accounts owe at their billers, a batch of lookups at a time.

The first transaction stores the lookups (those of the HTTP door are stored already) with an errand each. The billers
are called concurrently with no transaction open. The second transaction records bills, states and events (record.py).
A person waits for a lookup, so one that waits too long for a place ends: the biller is busy or down.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import Booking, Dispatcher, Errand, ErrandHandler, ErrandRun, FirstLeg, NewErrand
from events.bills import LookUpBills
from messaging.consumer import Dead
from services.billing.bills.connectors import BillerDown, Connectors, Found
from services.billing.bills.record import KIND, Answered, Lookup, record_lookups
from services.billing.bills.validate import fault_of_list
from services.billing.institutions import LEDGER
from services.billing.instruction import Instruction

log = structlog.get_logger()

_KEEP = text("""
    INSERT INTO lookups (id, channel_id, account_id, state, correlation_id)
    SELECT l.id, l.channel_id, l.account_id, 'pending', l.correlation_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:accounts AS uuid[]),
        CAST(:correlations AS text[])) AS l (id, channel_id, account_id, correlation_id)
    JOIN accounts a ON a.id = l.account_id JOIN open_channels c ON c.id = l.channel_id
    ORDER BY l.id
    ON CONFLICT DO NOTHING
""")
_READ = text("""
    SELECT l.id, l.channel_id, l.account_id, a.account_number, a.biller_id, b.currency, b.active, b.settled_by, l.state,
        l.version, l.correlation_id
    FROM lookups l JOIN accounts a ON a.id = l.account_id JOIN biller_terms b ON b.id = a.biller_id
    WHERE l.id = ANY(CAST(:ids AS uuid[]))
""")
_PROMISED = text("""
    SELECT l.id, d.reason
    FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[]), CAST(:reasons AS text[])) AS d (id, command_id, reason)
    JOIN lookups l ON l.id = d.id AND l.command_id = d.command_id AND l.state = 'pending'
""")
_ACCOUNTS = text("SELECT id FROM accounts WHERE id = ANY(CAST(:ids AS uuid[]))")
_OVERDUE = text(f"""
    SELECT id FROM lookups l WHERE state = 'pending' AND created_at < now() - :after * interval '1 second'
      AND {errands.is_missing(":kind", "l.id")}
    ORDER BY created_at LIMIT 500
""")  # noqa: S608 - our own condition
# A command usually takes less than a second from the door to the worker.
COMMAND_SECONDS = 20.0

Refusal = Literal["id_reused", "account_unknown", "channel_unknown"]


# A person who waits for the answer has given up after this time.
PATIENCE_SECONDS = 5.0
BUSY = BillerDown("all places at this biller are taken")
AWAY = BillerDown("the biller has not answered lately, or is paused; it is tried again later")


class Lookups:
    """The lookups of one process."""

    def __init__(self, engine: AsyncEngine, connectors: Connectors, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._connectors = connectors
        self._dispatcher = dispatcher
        dispatcher.register(
            ErrandHandler(
                KIND, self._read_open, self._run, record_lookups, self._broke, self._unrecorded
            )
        )

    async def look_up(self, batch: Sequence[Instruction[LookUpBills]]) -> dict[UUID, Refusal]:
        """Carry out these lookups; returns when they are stored, not when they are answered.

        A finished lookup stays as it is. Returns by lookup id the reasons of commands that could not be stored.
        """
        async with self._dispatcher.booking() as booking, self._engine.begin() as connection:
            await _keep(connection, batch)
            rows = await _read(connection, [each.command.lookup_id for each in batch])
            refused = await _refusals(connection, batch, rows)
            pending = [row for id, row in rows.items() if row.pending and id not in refused]
            away = [each for each in pending if self._is_away(each)]
            now = datetime.now(UTC)
            await record_lookups(connection, [Answered(each, now, AWAY) for each in away])
            reachable = [lookup for lookup in pending if not self._is_away(lookup)]
            held = await _book_errands(connection, reachable, booking)
        self._dispatcher.start(KIND, held)
        return refused

    async def expire_waiting(self) -> int:
        """End lookups that waited too long for a place, and start lookups of the HTTP door whose command did not
        arrive; return how many there were.
        """
        async with self._engine.begin() as connection:
            adopted = await _adopt(connection)
            waiting = await errands.unsent(connection, KIND, ["lookup"])
            late = [each.subject for each in waiting if each.seconds > PATIENCE_SECONDS]
            to = dict.fromkeys(late, (LEDGER, "give_up"))
            return adopted + len(await errands.redirect(connection, KIND, to, ["lookup"]))

    def _is_away(self, lookup: Lookup) -> bool:
        at = self._dispatcher.institutions.of(lookup.institution)
        return at.paused or at.breaker.state == "open"

    async def _read_open(
        self, connection: AsyncConnection, claimed: Sequence[Errand]
    ) -> list[Lookup]:
        found = {each.subject: each for each in claimed}
        rows = await _read(connection, list(found))
        pending = {id for id, row in rows.items() if row.pending}
        await errands.end_all_but(connection, claimed, pending)
        return [replace(rows[id], errand=found[id]) for id in pending]

    async def _run(self, lookup: Lookup, run: ErrandRun) -> Answered:
        asked_at = datetime.now(UTC)
        if not lookup.biller_active:
            inactive = BillerDown("the biller is not active")
            return Answered(lookup, asked_at, inactive, "biller_inactive")
        if run.leg == "give_up" or not await run.begin("lookup", lookup.institution):
            return Answered(lookup, asked_at, BUSY)
        connector = await self._connectors.of(lookup.biller_id)
        answer = await connector.lookup(lookup.account_number)
        run.report(answered=not isinstance(answer, BillerDown))
        if isinstance(answer, Found):
            why = fault_of_list(answer.bills, lookup.currency)
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
            "reasons": [each.public_reason for each in dead],
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
        # No money depends on a lookup, so it ends as failed, and the wallet may look up again.
        answer = BillerDown(type(error).__name__)
        async with self._engine.begin() as connection:
            await record_lookups(connection, [Answered(lookup, datetime.now(UTC), answer, reason)])


async def _book_errands(
    connection: AsyncConnection, pending: Sequence[Lookup], booking: Booking
) -> list[Lookup]:
    # Books one errand for each lookup; returns the lookups that have a place and that no other process has.
    lookups = {each.id: each for each in pending}
    calls = [FirstLeg(each.id, each.institution, "lookup") for each in pending]
    booked = await errands.book(connection, booking, KIND, calls)
    return [replace(lookups[id], errand=errand) for id, errand in booked.held.items()]


async def _keep(connection: AsyncConnection, batch: Sequence[Instruction[LookUpBills]]) -> None:
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


async def _adopt(connection: AsyncConnection) -> int:
    # No money depends on a lookup, so it need not wait for its command: looking up twice changes nothing.
    old = await connection.execute(_OVERDUE, {"after": COMMAND_SECONDS, "kind": KIND})
    rows = await _read(connection, list(old.scalars()))
    new = [NewErrand(KIND, id, row.institution, "lookup") for id, row in rows.items()]
    return len(await errands.add(connection, new))


async def _refusals(
    connection: AsyncConnection, batch: Sequence[Instruction[LookUpBills]], rows: dict[UUID, Lookup]
) -> dict[UUID, Refusal]:
    # A lookup that is missing was not stored: its account or channel does not exist.
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

"""Seal the ledger: each minute of transfers, once it is over, gets a digest that is chained to the one before.

An auditor who keeps one digest outside of the database (each is logged) can prove later that no transfer up to there
was changed, added or taken away, even by a database superuser. And an audit need not add up sealed transfers:
their sums are stored in `sealed_sums`, for a thousandth of the accounts together, because a sum for each wallet would
cost every payment as much as the wallet's balance does.

A span's digest is SHA-256 over three parts: the digest before (empty for the first span), the span's start as text
(2026-11-26T10:05:00+00:00), and the SHA-256 over the SHA-256 of each transfer in the order of their ids (empty
without transfers). A transfer is the line `id|kind|debit|credit|amount|currency|corrects|occurred_at`, with the
addresses of its accounts, the amount in minor units and the time in seconds since 1970, to the microsecond. It
belongs to the span of its `created_at`: the database's clock, which the application cannot set.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

SPAN = timedelta(minutes=1)
# The pause between a span's end and its seal; a new transaction is visible to the others in less.
SETTLED = timedelta(minutes=1)
# The number of spans that are read at once.
AT_ONCE = 60
# Accounts with the same id modulo this number are added up together.
BUCKETS = 1024

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('seals of the ledger', 0))")
# One processor, because payments need the others.
_ALONE = text("SET LOCAL max_parallel_workers_per_gather = 0")
_LAST = text("SELECT until, digest FROM seals ORDER BY since DESC LIMIT 1")
_FIRST = text("SELECT date_bin(:span, min(created_at), 'epoch') FROM transfers")
# Rows have the time at which their transaction began, so no row older than all open transactions can still appear.
_OVER = text("""
    SELECT date_bin(:span, least(now() - CAST(:settled AS interval), min(xact_start)), 'epoch')
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
""")
_CONTENTS = text("""
    SELECT date_bin(CAST(:span AS interval), t.created_at, CAST(:since AS timestamptz)) AS since, count(*) AS transfers,
        sha256(string_agg(sha256(convert_to(
            concat_ws('|', t.id, t.kind, d.address, c.address, t.amount_minor, t.currency,
                coalesce(CAST(t.corrects AS text), ''), extract(epoch FROM t.occurred_at)), 'UTF8')), '' ORDER BY t.id)
        ) AS digest
    FROM transfers t
    LEFT JOIN ledger_accounts d ON d.id = t.debit_account LEFT JOIN ledger_accounts c ON c.id = t.credit_account
    WHERE t.created_at >= :since AND t.created_at < :until
    GROUP BY 1
""")
_SEAL = text("""
    INSERT INTO seals (since, until, transfers, digest)
    SELECT * FROM unnest(CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]), CAST(:transfers AS bigint[]),
        CAST(:digests AS bytea[]))
""")
_ADD_UP = text(f"""
    INSERT INTO sealed_sums (bucket, balance_minor)
    SELECT account % {BUCKETS}, CAST(sum(amount_minor) AS bigint) FROM (
        SELECT debit_account AS account, -amount_minor AS amount_minor FROM transfers
        WHERE created_at >= :since AND created_at < :until
        UNION ALL
        SELECT credit_account, amount_minor FROM transfers WHERE created_at >= :since AND created_at < :until
    ) AS both_sides GROUP BY 1 ORDER BY 1
    ON CONFLICT (bucket) DO UPDATE SET balance_minor = sealed_sums.balance_minor + excluded.balance_minor
""")  # noqa: S608 - our own number
_SEALED = text("""
    SELECT count(*) AS seals, CAST(coalesce(sum(transfers), 0) AS bigint) AS transfers,
        min(since) AS since, max(until) AS until,
        (SELECT digest FROM seals ORDER BY since DESC LIMIT 1) AS digest,
        (SELECT until FROM seals WHERE digest = :anchor) AS anchored_until
    FROM seals
""")
_SEALS = text("""
    SELECT since, until, transfers, digest FROM seals
    WHERE since >= :since AND since < :until ORDER BY since
""")
_BEFORE = text("""
    SELECT since, until, transfers, digest FROM seals WHERE since < :since ORDER BY since DESC LIMIT 1
""")


class Seal(NamedTuple):
    """A span from `since` until just before `until`, with its number of transfers and its digest."""

    since: datetime
    until: datetime
    transfers: int
    digest: bytes


class BrokenSeal(NamedTuple):
    """A seal that does not match its transfers or the seal before it."""

    seal: Seal
    what: str


class Verified(NamedTuple):
    """All seals, and the broken ones. `anchored_until` is the end of the seal with the given digest."""

    seals: int
    transfers: int
    since: datetime | None
    until: datetime | None
    digest: bytes
    anchored_until: datetime | None
    broken: list[BrokenSeal]


class _Contents(NamedTuple):
    transfers: int
    digest: bytes


_NOTHING = _Contents(0, b"")


async def sealed_until(connection: AsyncConnection) -> datetime | None:
    """Return the time before which all transfers are sealed; None while there is no seal."""
    last = (await connection.execute(_LAST)).first()
    return None if last is None else last.until


async def seal(connection: AsyncConnection) -> list[Seal]:
    """Seal the next spans that are over, in the caller's transaction, at most AT_ONCE of them; return their seals.

    Returns an empty list when no span is over, or while another process seals. The time is not a parameter, because
    only the database knows which transactions are still open.
    """
    if not await connection.scalar(_TRY_LOCK):
        return []
    await connection.execute(_ALONE)
    last = (await connection.execute(_LAST)).first()
    since = last.until if last else await connection.scalar(_FIRST, {"span": SPAN})
    over = await connection.scalar(_OVER, {"span": SPAN, "settled": SETTLED})
    if since is None or over <= since:
        return []
    until = min(over, since + AT_ONCE * SPAN)
    sealed = await _make(connection, since, until, last.digest if last else b"")
    await connection.execute(
        _SEAL,
        {
            "since": [each.since for each in sealed],
            "until": [each.until for each in sealed],
            "transfers": [each.transfers for each in sealed],
            "digests": [each.digest for each in sealed],
        },
    )
    await connection.execute(_ADD_UP, {"since": since, "until": until})
    return sealed


async def broken_seals(
    connection: AsyncConnection, since: datetime, until: datetime
) -> list[BrokenSeal]:
    """Return the seals of this span of time that do not match their transfers."""
    await connection.execute(_ALONE)
    row = (await connection.execute(_BEFORE, {"since": since})).first()
    before = Seal(*row) if row else None
    found = await connection.execute(_SEALS, {"since": since, "until": until})
    seals = [Seal(*row) for row in found]
    broken: list[BrokenSeal] = []
    for first in range(0, len(seals), AT_ONCE):
        some = seals[first : first + AT_ONCE]
        contents = await _contents(connection, some[0].since, some[-1].until)
        for each in some:
            what = _fault(each, contents, before)
            broken += [BrokenSeal(each, what)] if what else []
            before = each
    return broken


async def verify(connection: AsyncConnection, anchor: bytes | None = None) -> Verified:
    """Compute every seal again. `anchor` is a digest that was kept elsewhere."""
    found = (await connection.execute(_SEALED, {"anchor": anchor})).one()
    broken = await broken_seals(connection, found.since, found.until) if found.seals else []
    return Verified(
        found.seals,
        found.transfers,
        found.since,
        found.until,
        found.digest or b"",
        found.anchored_until,
        broken,
    )


def _fault(seal: Seal, contents: Mapping[datetime, _Contents], before: Seal | None) -> str | None:
    if before and before.until != seal.since:
        return f"the seal before it ends at {before.until.isoformat()}"
    found = contents.get(seal.since, _NOTHING)
    if found.transfers != seal.transfers:
        return f"sealed with {seal.transfers} transfers, and there are {found.transfers}"
    if _digest(before.digest if before else b"", seal.since, found.digest) != seal.digest:
        return "one of its transfers was changed, or the seal before it"
    return None


async def _make(
    connection: AsyncConnection, since: datetime, until: datetime, before: bytes
) -> list[Seal]:
    contents = await _contents(connection, since, until)
    seals: list[Seal] = []
    while since < until:
        found = contents.get(since, _NOTHING)
        before = _digest(before, since, found.digest)
        seals.append(Seal(since, since + SPAN, found.transfers, before))
        since += SPAN
    return seals


async def _contents(
    connection: AsyncConnection, since: datetime, until: datetime
) -> dict[datetime, _Contents]:
    # By the start of each span; spans without transfers are left out.
    rows = await connection.execute(_CONTENTS, {"span": SPAN, "since": since, "until": until})
    return {row.since: _Contents(row.transfers, row.digest) for row in rows}


def _digest(before: bytes, since: datetime, contents: bytes) -> bytes:
    return sha256(before + since.astimezone(UTC).isoformat().encode() + contents).digest()

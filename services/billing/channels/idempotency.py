"""Idempotency keys: the same key with the same body is the same request, with another body it is an error.

The key is stored for good, in the transaction that stores its result, so a retry after a day finds it, too.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Header
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.problems import Problem
from events.bounds import is_storable
from services.billing.channels.tables import LONGEST_KEY
from services.billing.docs_pages.problem_types import (
    IDEMPOTENCY_KEY_REQUIRED,
    IDEMPOTENCY_KEY_REUSED,
)

# The statement itself sets the lock timeout before its first row, which saves a round trip per request.
_CLAIM = text("""
    WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', CAST(:patience AS text), true))
    INSERT INTO idempotency_keys (channel_id, key, request_hash, resource_id)
    SELECT asked.* FROM patience, unnest(CAST(:channels AS text[]), CAST(:keys AS text[]), CAST(:hashes AS bytea[]),
        CAST(:ids AS uuid[])) AS asked
    ON CONFLICT DO NOTHING RETURNING resource_id
""")
_FIND = text("""
    SELECT channel_id, key, request_hash, resource_id FROM idempotency_keys
    JOIN unnest(CAST(:channels AS text[]), CAST(:keys AS text[])) AS asked (channel_id, key) USING (channel_id, key)
""")
_RELEASE = text("""
    DELETE FROM idempotency_keys k
    USING unnest(CAST(:channels AS text[]), CAST(:keys AS text[])) AS asked (channel_id, key)
    WHERE k.channel_id = asked.channel_id AND k.key = asked.key
""")


class KeyUse(NamedTuple):
    """A channel's use of a key for a request, identified by its hash. A new key will stand for `new_id`."""

    channel_id: str
    key: str
    hash: bytes
    new_id: UUID


class Claim(NamedTuple):
    """The id that a key stands for; `replayed` when it stood for it before."""

    resource_id: UUID
    replayed: bool


async def idempotency_key(
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="up to 255 characters, unique per request"),
    ] = None,
) -> str:
    """Return the required Idempotency-Key header; a FastAPI dependency."""
    if not key or len(key) > LONGEST_KEY or not is_storable(key):
        detail = (
            f"Send a fresh Idempotency-Key (up to {LONGEST_KEY} characters) with a new request,"
            " and the same on a retry."
        )
        raise Problem(IDEMPOTENCY_KEY_REQUIRED, detail)
    return key


def key_use(channel_id: str, key: str, request_bytes: bytes, new_id: UUID) -> KeyUse:
    """Return the use of this key for a request, given as bytes."""
    return KeyUse(channel_id, key, hashlib.sha256(request_bytes).digest(), new_id)


async def claim_key(
    connection: AsyncConnection, channel_id: str, key: str, request_bytes: bytes, new_id: UUID
) -> Claim:
    """Claim the key for `new_id`, or find the id that it stands for.

    Waits for a concurrent request with the same key. Raises Problem 422 when the key was used with other content
    before.
    """
    [claim] = await claim_keys(connection, [key_use(channel_id, key, request_bytes, new_id)])
    if isinstance(claim, Problem):
        raise claim
    return claim


async def claim_keys(
    connection: AsyncConnection, uses: Sequence[KeyUse], patience: str | None = None
) -> list[Claim | Problem]:
    """Claim each key or find the id that it stands for, in the order of `uses`, which have no key twice.

    Waits for concurrent requests with the same keys, each for at most `patience` ("500ms") if given, and then raises a
    DBAPIError (lock_not_available). A key that was used with other content gives a Problem 422.
    """
    # In one order everywhere, so that two batches which share keys cannot deadlock.
    ordered = sorted(uses, key=lambda use: use[:2])
    claimed = await connection.execute(
        _CLAIM,
        {
            **_columns(ordered),
            "patience": patience,
            "hashes": [u.hash for u in ordered],
            "ids": [u.new_id for u in ordered],
        },
    )
    new = set(claimed.scalars())
    known = [use for use in uses if use.new_id not in new]
    before = {}
    if known:
        rows = await connection.execute(_FIND, _columns(known))
        before = {(row.channel_id, row.key): row for row in rows}
    claims: list[Claim | Problem] = []
    for use in uses:
        if use.new_id in new:
            claims.append(Claim(use.new_id, replayed=False))
        elif (row := before[use[:2]]).request_hash == use.hash:
            claims.append(Claim(row.resource_id, replayed=True))
        else:
            claims.append(Problem(IDEMPOTENCY_KEY_REUSED))
    return claims


async def release_keys(connection: AsyncConnection, uses: Sequence[KeyUse]) -> None:
    """Free keys that were claimed in this transaction and whose requests were refused."""
    if uses:
        await connection.execute(_RELEASE, _columns(uses))


def _columns(uses: Sequence[KeyUse]) -> dict[str, list[str]]:
    return {"channels": [use.channel_id for use in uses], "keys": [use.key for use in uses]}

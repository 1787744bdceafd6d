"""Idempotency keys: the same key with the same body is the same request, with another body it is an error.

The key is kept in the transaction that keeps what it stands for, and for good: a retry after a day finds it, too.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Header
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.problems import Problem

_CLAIM = text("""
    INSERT INTO idempotency_keys (channel_id, key, request_hash, resource_id) VALUES (:channel, :key, :hash, :id)
    ON CONFLICT DO NOTHING RETURNING resource_id
""")
_FIND = text("""
    SELECT request_hash, resource_id FROM idempotency_keys WHERE channel_id = :channel AND key = :key
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for; `replayed` when it stood for that before."""

    resource_id: UUID
    replayed: bool


def idempotency_key(
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="up to 255 characters, unique per request"),
    ] = None,
) -> str:
    """The Idempotency-Key header, required; a FastAPI dependency."""
    if not key or len(key) > 255:
        detail = "Send a fresh Idempotency-Key (up to 255 characters) with a new request, and the same on a retry."
        raise Problem(400, "idempotency-key-required", "An Idempotency-Key is required", detail)
    return key


async def claim_key(
    connection: AsyncConnection, channel_id: str, key: str, said: bytes, new_id: UUID
) -> Claim:
    """Claim the key for `new_id`, or find what it stands for. `said` is the request as it came.

    Waits for a concurrent request with the same key. Raises Problem 422 when the key came with other content before.
    """
    digest = hashlib.sha256(said).digest()
    claimed = await connection.execute(
        _CLAIM, {"channel": channel_id, "key": key, "hash": digest, "id": new_id}
    )
    if claimed.first() is not None:
        return Claim(new_id, replayed=False)
    row = (await connection.execute(_FIND, {"channel": channel_id, "key": key})).one()
    if row.request_hash != digest:
        detail = "This Idempotency-Key came with another body before. Repeat that body, or use a fresh key."
        raise Problem(422, "idempotency-key-reused", "The key stands for another request", detail)
    return Claim(row.resource_id, replayed=True)

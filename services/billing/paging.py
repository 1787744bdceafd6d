"""Cursor pagination: newest first, by (created_at, id). A cursor is opaque to whoever holds it."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.http.problems import Problem
from services.billing.docs_pages.problem_types import BAD_CURSOR

ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    """A page of a list. Ask for the next one with `cursor=next_cursor`; there is none when it is null."""

    items: list[ItemT]
    next_cursor: str | None = Field(default=None, description="where the next page begins")


def encode_cursor(created_at: datetime, id: UUID) -> str:
    """Where a page ended."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{id}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """The (created_at, id) that a page ended with; raises Problem 422 for anything that was not made here."""
    try:
        created_at, id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        # In UTC, as the database will have it: a time at the end of the calendar has none.
        return datetime.fromisoformat(created_at).astimezone(UTC), UUID(id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise not_a_cursor() from error


def not_a_cursor() -> Problem:
    """The problem of a cursor that no page has given."""
    return Problem(BAD_CURSOR)

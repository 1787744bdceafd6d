"""Cursor pagination: newest first, by (created_at, id). A cursor is opaque to clients."""

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
    """A page of a list. Request the next page with `cursor=next_cursor`; there is none when that is null."""

    items: list[ItemT]
    next_cursor: str | None = Field(default=None, description="where the next page begins")


def encode_cursor(created_at: datetime, id: UUID) -> str:
    """Return the cursor of a page that ends here."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{id}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the (created_at, id) at which a page ended. Raises Problem 422 for anything but a cursor of ours."""
    try:
        created_at, id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        # In UTC, as the database will convert it: a time at the end of the calendar has no UTC time.
        return datetime.fromisoformat(created_at).astimezone(UTC), UUID(id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise not_a_cursor() from error


def not_a_cursor() -> Problem:
    """Return the problem of an invalid cursor."""
    return Problem(BAD_CURSOR)

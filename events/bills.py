"""Bill lookup: one command, and the four ways in which it ends.

An account number is personal data, so it stays in the database: messages name the account by its id.
"""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events.message import Event
from events.money import AmountMinorOrZero, Currency
from events.topics import LOOKUP_COMMANDS, LOOKUP_EVENTS

BillerId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
AmountRule = Literal["exact", "at_least", "at_most", "range", "any"]


class LookUpBills(Event):
    """Ask the biller what this account owes."""

    topic = LOOKUP_COMMANDS
    key_field = "lookup_id"

    lookup_id: UUID
    channel: str
    account_id: UUID


class FoundBill(BaseModel):
    """A bill as the biller stated it: a snapshot that expires."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bill_id: UUID
    period: str
    amount_minor: AmountMinorOrZero
    currency: Currency
    rule: AmountRule
    min_minor: AmountMinorOrZero | None = None
    max_minor: AmountMinorOrZero | None = None
    multiple_minor: AmountMinorOrZero | None = None
    due_on: date | None = None
    expires_at: datetime


class _LookupEvent(Event):
    lookup_id: UUID
    channel: str
    account_id: UUID
    biller_id: BillerId


class BillsFound(_LookupEvent):
    """The account owes these bills."""

    topic = LOOKUP_EVENTS
    key_field = "lookup_id"

    bills: list[FoundBill]


class NothingOwed(_LookupEvent):
    """The account exists and owes nothing."""

    topic = LOOKUP_EVENTS
    key_field = "lookup_id"


class AccountNotFound(_LookupEvent):
    """The biller does not know the account."""

    topic = LOOKUP_EVENTS
    key_field = "lookup_id"


class LookupFailed(_LookupEvent):
    """The biller could not be asked; `reason` says why, and asking again later is right."""

    topic = LOOKUP_EVENTS
    key_field = "lookup_id"

    reason: str

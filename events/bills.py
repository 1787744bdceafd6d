"""Bill lookup: one command, and the four events with which it may end.

An account number is personal data, so it stays in the database: messages name the account by its id.
"""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events import bounds
from events.bounds import Fitted
from events.message import Event
from events.money import AmountMinorOrZero, Currency
from events.topics import LOOKUP_COMMANDS, LOOKUP_EVENTS

BillerId = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="as in the catalogue")
]
LookupId = Annotated[UUID, Field(description="given by the caller")]
AccountId = Annotated[UUID, Field(description="the account at the biller; never its number")]
Channel = Annotated[
    str, Fitted(bounds.CHANNEL_ID), Field(description="the wallet app that looks up")
]
AmountRule = Literal["exact", "at_least", "at_most", "range", "any"]


class LookUpBills(Event):
    """Look up what this account owes."""

    topic = LOOKUP_COMMANDS
    key_field = "lookup_id"

    lookup_id: LookupId
    channel: Channel
    account_id: AccountId


class FoundBill(BaseModel):
    """A bill as the biller stated it: a snapshot that expires."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bill_id: Annotated[UUID, Field(description="the bill's id, for `PayBill`")]
    period: Annotated[
        str,
        Fitted(bounds.PERIOD),
        Field(description="as the biller writes it; at most 64 characters"),
    ]
    amount_minor: AmountMinorOrZero
    currency: Currency
    rule: Annotated[AmountRule, Field(description="which amounts the biller takes")]
    min_minor: Annotated[
        AmountMinorOrZero | None, Field(description="the smallest amount that the biller takes")
    ] = None
    max_minor: Annotated[
        AmountMinorOrZero | None, Field(description="the largest amount that the biller takes")
    ] = None
    multiple_minor: Annotated[
        AmountMinorOrZero | None, Field(description="the amount must be a multiple of this")
    ] = None
    due_on: Annotated[date | None, Field(description="the last day to pay in time")] = None
    expires_at: Annotated[
        datetime, Field(description="the end of the snapshot: look the bill up again")
    ]


class _LookupEvent(Event):
    lookup_id: LookupId
    channel: Channel
    account_id: AccountId
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
    """The biller could not be reached; `reason` says why. Look up again later."""

    topic = LOOKUP_EVENTS
    key_field = "lookup_id"

    reason: Annotated[
        str, Fitted(bounds.REASON), Field(description="a short code, for example timeout")
    ]

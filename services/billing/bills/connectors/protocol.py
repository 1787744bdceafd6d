"""The operations of every biller connector, and their outcomes.

Outcomes are types. Unknown means that the biller may or may not have done it: query the serial, never guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from events.bills import AmountRule


@dataclass(frozen=True, slots=True)
class BillerBill:
    """A bill as the biller states it, in minor units.

    After `expires_at` it must be looked up again before it is paid.
    """

    bill_number: str
    period: str
    amount_minor: int
    currency: str
    rule: AmountRule
    expires_at: datetime
    min_minor: int | None = None
    max_minor: int | None = None
    multiple_minor: int | None = None
    due_on: date | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The account owes these bills."""

    bills: Sequence[BillerBill]


@dataclass(frozen=True, slots=True)
class NothingOwed:
    """The account exists and owes nothing."""


@dataclass(frozen=True, slots=True)
class NoSuchAccount:
    """The biller does not know the account."""


@dataclass(frozen=True, slots=True)
class BillerDown:
    """The biller could not be reached, or its response could not be read."""

    why: str


@dataclass(frozen=True, slots=True)
class Application:
    """One bill to be marked paid, once, under our serial."""

    serial: str
    account_number: str
    bill_number: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The bill is marked paid under our serial."""

    biller_reference: str


@dataclass(frozen=True, slots=True)
class BillerRefused:
    """The biller understood the request and refused it; nothing changed there. `code` is short and stable."""

    code: str


@dataclass(frozen=True, slots=True)
class NotApplied:
    """The biller knows of no apply under this serial."""


@dataclass(frozen=True, slots=True)
class Unapplied:
    """The mark was taken back; the biller will refuse a late apply under the serial."""


@dataclass(frozen=True, slots=True)
class BillerUnknown:
    """There was no response, or one that cannot be trusted."""

    why: str


@dataclass(frozen=True, slots=True)
class DayFileLine:
    """One line of a biller's day file."""

    serial: str
    bill_number: str
    amount_minor: int
    currency: str
    kind: Literal["apply", "unapply"]
    occurred_at: datetime


class DayFileError(Exception):
    """A day file that cannot be trusted as a whole: encoding, header or totals are wrong."""


LookupAnswer = Found | NothingOwed | NoSuchAccount | BillerDown
ApplyAnswer = Applied | BillerRefused | BillerUnknown
QueryAnswer = Applied | NotApplied | Unapplied | BillerUnknown
UnapplyAnswer = Unapplied | BillerRefused | BillerUnknown


class Connector(Protocol):
    """Speaks one biller's dialect. No method raises for failures of the network."""

    async def lookup(self, account_number: str) -> LookupAnswer:
        """Look up what the account owes."""
        ...

    async def apply(self, application: Application) -> ApplyAnswer:
        """Mark a bill paid; repeating it with the same serial gives the same outcome."""
        ...

    async def query(self, application: Application) -> QueryAnswer:
        """Query the outcome of an application by its serial; a response about another one is BillerUnknown."""
        ...

    async def unapply(self, application: Application) -> UnapplyAnswer:
        """Take the mark back; may be repeated, and blocks a late original."""
        ...

    async def day_file(self, day: date) -> bytes:
        """Fetch the biller's file of a day (Asia/Shanghai). Raises OSError when that fails."""
        ...

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Parse the day file. Raises DayFileError when its totals or its encoding are wrong."""
        ...

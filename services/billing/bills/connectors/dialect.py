"""What the dialects over HTTP have in common: which answer is believed, and what everything else means.

A dialect turns a question into a request and an answer into a `Reply`. A reply to apply that does not name our serial and
our amount again is not believed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from services.billing.bills.connectors.http import LARGEST_FILE_BYTES, HttpClient, TransportError
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    ApplyAnswer,
    BillerBill,
    BillerDown,
    BillerRefused,
    BillerUnknown,
    DayFileLine,
    Found,
    LookupAnswer,
    NoSuchAccount,
    NotApplied,
    NothingOwed,
    QueryAnswer,
    Unapplied,
    UnapplyAnswer,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a biller is, and what we share with it."""

    biller_id: str
    url: str
    secret: str
    currency: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Request:
    """What a dialect wants sent."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a dialect has read. `status` is ok, no_account, not_applied, unapplied, or refused with a `code`."""

    status: str
    code: str = ""
    serial: str = ""
    amount_minor: int | None = None
    reference: str = ""
    bills: Sequence[BillerBill] = ()


class NonsenseError(Exception):
    """An answer that the dialect can't read."""


class Dialect(ABC):
    """A connector over HTTP."""

    def __init__(self, client: HttpClient, endpoint: Endpoint) -> None:
        self._client = client
        self.endpoint = endpoint

    @abstractmethod
    def question(self, operation: str, fields: Mapping[str, str]) -> Request:
        """The request for lookup, apply, query or unapply. Amounts in `fields` are minor units."""

    @abstractmethod
    def read(self, operation: str, content: bytes) -> Reply:
        """Read an answer; raises NonsenseError, ValueError, KeyError or TypeError when it makes no sense."""

    @abstractmethod
    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Read the biller's list of a day."""

    async def lookup(self, account_number: str) -> LookupAnswer:
        """What the account owes."""
        try:
            reply = await self._ask("lookup", {"account_number": account_number})
        except (TransportError, NonsenseError) as error:
            return BillerDown(str(error))
        if reply.status == "no_account":
            return NoSuchAccount()
        if reply.status != "ok":
            return BillerDown(f"refused: {reply.code}")
        return Found(reply.bills) if reply.bills else NothingOwed()

    async def apply(self, application: Application) -> ApplyAnswer:
        """Mark a bill paid under our serial."""
        fields = {
            "serial": application.serial,
            "account_number": application.account_number,
            "bill_number": application.bill_number,
            "amount_minor": str(application.amount_minor),
        }
        try:
            reply = await self._ask("apply", fields)
        except (TransportError, NonsenseError) as error:
            return BillerUnknown(str(error))
        if reply.status == "refused":
            return BillerRefused(reply.code)
        if reply.status != "ok":
            return BillerUnknown(f"unexpected: {reply.status}")
        if (reply.serial, reply.amount_minor) != (application.serial, application.amount_minor):
            return BillerUnknown("the answer does not name our serial and amount")
        return Applied(reply.reference)

    async def query(self, serial: str) -> QueryAnswer:
        """What became of a serial."""
        try:
            reply = await self._ask("query", {"serial": serial})
        except (TransportError, NonsenseError) as error:
            return BillerUnknown(str(error))
        if reply.status == "not_applied":
            return NotApplied()
        if reply.serial != serial:
            return BillerUnknown("the answer does not name our serial")
        if reply.status == "unapplied":
            return Unapplied()
        return Applied(reply.reference) if reply.status == "ok" else BillerUnknown(reply.status)

    async def unapply(self, serial: str) -> UnapplyAnswer:
        """Take the mark back."""
        try:
            reply = await self._ask("unapply", {"serial": serial})
        except (TransportError, NonsenseError) as error:
            return BillerUnknown(str(error))
        if reply.status == "refused":
            return BillerRefused(reply.code)
        if reply.status not in {"ok", "unapplied"} or reply.serial != serial:
            return BillerUnknown("the answer does not name our serial")
        return Unapplied()

    async def day_file(self, day: date) -> bytes:
        """The biller's list of a day; raises OSError when it can't be had."""
        request = self.question("day_file", {"day": f"{day:%Y%m%d}"})
        try:
            return await self._client.send(
                "POST",
                f"{self.endpoint.url}{request.path}",
                60.0,
                request.headers,
                request.body,
                LARGEST_FILE_BYTES,
            )
        except TransportError as error:
            raise OSError(f"{self.endpoint.biller_id}: {error}") from error

    async def _ask(self, operation: str, fields: Mapping[str, str]) -> Reply:
        request = self.question(operation, fields)
        url = f"{self.endpoint.url}{request.path}"
        content = await self._client.send(
            "POST", url, self.endpoint.timeout_seconds, request.headers, request.body
        )
        try:
            return self.read(operation, content)
        except (ValueError, KeyError, TypeError, LookupError) as error:
            raise NonsenseError(f"nonsense: {type(error).__name__}") from error

"""The base of all HTTP dialects: which responses count, and what every other response means.

A dialect writes requests and reads responses. A response counts only if it repeats what the request was about (the
account of a lookup; else our serial, and for an apply the amount) and names no other account, bill, amount or
currency. Any other response is ignored, even a refusal: believing it could release the money for a bill that is
marked as paid.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from services.billing.bills.connectors.http import (
    LARGEST_ANSWER_BYTES,
    LARGEST_FILE_BYTES,
    HttpClient,
    TransportError,
)
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

Status = Literal["ok", "no_account", "not_applied", "unapplied", "refused"]
# The biller creates the day file during the request.
DAY_FILE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BillerEndpoint:
    """A biller's address, and the secret that we share with it."""

    biller_id: str
    url: str
    secret: str = field(repr=False)
    currency: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class BillerRequest:
    """A request in a dialect."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BillerReply:
    """A response as its dialect read it; fields that the biller left out are empty. A refusal has a `code`."""

    status: Status
    code: str = ""
    account_number: str = ""
    serial: str = ""
    bill_number: str = ""
    amount_minor: int | None = None
    currency: str = ""
    reference: str = ""
    bills: Sequence[BillerBill] = ()


class NonsenseError(Exception):
    """A response that the dialect cannot read, or a request that it cannot write."""


class Dialect(ABC):
    """A connector over HTTP."""

    def __init__(self, client: HttpClient, endpoint: BillerEndpoint) -> None:
        self._client = client
        self.endpoint = endpoint

    @abstractmethod
    def build_request(self, operation: str, fields: Mapping[str, str]) -> BillerRequest:
        """Return the request for lookup, apply, query or unapply. Amounts in `fields` are minor units."""

    @abstractmethod
    def read_response(self, operation: str, content: bytes) -> BillerReply:
        """Read a response. Raises NonsenseError, ValueError, LookupError or TypeError when it makes no sense."""

    @abstractmethod
    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Parse the biller's day file."""

    async def lookup(self, account_number: str) -> LookupAnswer:
        """Look up what the account owes."""
        try:
            reply = await self._ask("lookup", {"account_number": account_number})
        except (TransportError, NonsenseError) as error:
            return BillerDown(str(error))
        if reply.account_number != account_number:
            return BillerDown("the answer does not name our account")
        if reply.status == "no_account":
            return NoSuchAccount()
        if reply.status != "ok":
            return BillerDown(f"{reply.status}: {reply.code}")
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
        if difference := _difference(reply, application):
            return BillerUnknown(difference)
        if reply.status == "refused":
            return BillerRefused(reply.code)
        if reply.status != "ok":
            return BillerUnknown(f"unexpected: {reply.status}")
        return _applied(reply)

    async def query(self, application: Application) -> QueryAnswer:
        """Query the outcome of an application by its serial."""
        try:
            reply = await self._ask("query", {"serial": application.serial})
        except (TransportError, NonsenseError) as error:
            return BillerUnknown(str(error))
        if difference := _difference(reply, application):
            return BillerUnknown(difference)
        if reply.status == "not_applied":
            return NotApplied()
        if reply.status == "unapplied":
            return Unapplied()
        if reply.status != "ok":
            return BillerUnknown(f"{reply.status}: {reply.code}")
        return _applied(reply)

    async def unapply(self, application: Application) -> UnapplyAnswer:
        """Take the mark back."""
        try:
            reply = await self._ask("unapply", {"serial": application.serial})
        except (TransportError, NonsenseError) as error:
            return BillerUnknown(str(error))
        if difference := _difference(reply, application):
            return BillerUnknown(difference)
        if reply.status == "refused":
            return BillerRefused(reply.code)
        if reply.status not in {"ok", "unapplied"}:
            return BillerUnknown(f"unexpected: {reply.status}")
        return Unapplied()

    async def day_file(self, day: date) -> bytes:
        """Fetch the biller's day file. Raises OSError when that fails."""
        try:
            return await self._send("day_file", {"day": f"{day:%Y%m%d}"})
        except (TransportError, NonsenseError) as error:
            raise OSError(f"{self.endpoint.biller_id}: {error}") from error

    async def _ask(self, operation: str, fields: Mapping[str, str]) -> BillerReply:
        content = await self._send(operation, fields)
        try:
            return self.read_response(operation, content)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise NonsenseError(f"nonsense: {type(error).__name__}") from error

    async def _send(self, operation: str, fields: Mapping[str, str]) -> bytes:
        if not self.endpoint.secret:
            # With an empty secret anybody could sign.
            raise TransportError("we share no secret with this biller")
        try:
            request = self.build_request(operation, fields)
        except ValueError as error:
            raise NonsenseError("the question can't be written in this dialect") from error
        file = operation == "day_file"
        return await self._client.post(
            f"{self.endpoint.url}{request.path}",
            request.headers,
            request.body,
            timeout_seconds=DAY_FILE_SECONDS if file else self.endpoint.timeout_seconds,
            largest_bytes=LARGEST_FILE_BYTES if file else LARGEST_ANSWER_BYTES,
        )


def _difference(reply: BillerReply, ours: Application) -> str | None:
    """Return why the reply is about another application than ours, or None."""
    if reply.serial != ours.serial:
        return "the answer does not name our serial"
    if reply.amount_minor not in {None, ours.amount_minor}:
        return "the answer names another amount"
    compared = (
        ("account", reply.account_number, ours.account_number),
        ("bill", reply.bill_number, ours.bill_number),
        ("currency", reply.currency, ours.currency),
    )
    names = [name for name, given, wanted in compared if given not in {"", wanted}]
    return f"the answer names another {names[0]}" if names else None


def _applied(reply: BillerReply) -> Applied | BillerUnknown:
    if reply.amount_minor is None:
        return BillerUnknown("the answer does not name our amount")
    return Applied(reply.reference)

"""The dialects `json` and `form` as the billers speak them, and what a dialect is.

`json`: POST /<biller>/{lookup,apply,query,unapply,day-file}; X-Signature is HMAC-SHA256, in hexadecimal, over the time
stamp in X-Timestamp (Unix seconds, five minutes at most from ours), a dot and the body. `form`: POST /<biller>/gateway;
`sign` is SHA-256 over the sorted fields and `&key=<secret>`, both ways. Amounts are fen in both.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from sandbox.billers.biller_book import CURRENCY, BillerReply, BillerRequest, BookLine, IssuedBill
from sandbox.china_time import day_of, iso

OPERATIONS = ("lookup", "apply", "query", "unapply", "day_file")
# An honest clock is not further from ours; a request that was recorded earlier is not played again.
CLOCK_SKEW_SECONDS = 300


class BadRequestError(Exception):
    """A request that gets no answer in the dialect, only a status: 400, 401 or 404."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request as a dialect gets it; `path` is the part after the biller's id, without a slash."""

    biller: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class BillerDialect(Protocol):
    """One way to ask and to answer."""

    media_type: str

    def read(self, http: HttpRequest, secret: str) -> BillerRequest:
        """The question; raises BadRequestError, also when its signature does not hold."""
        ...

    def write(self, request: BillerRequest, reply: BillerReply, secret: str) -> bytes:
        """The answer."""
        ...

    def day_file(self, lines: Sequence[BookLine]) -> bytes:
        """The list of a day."""
        ...


class JsonDialect:
    """JSON with snake_case fields."""

    media_type = "application/json"

    def read(self, http: HttpRequest, secret: str) -> BillerRequest:
        """See BillerDialect."""
        at = http.headers.get("x-timestamp", "")
        signed = at.encode() + b"." + http.body
        wanted = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        check(wanted, http.headers.get("x-signature", ""))
        if not at.isdecimal() or abs(time.time() - int(at)) > CLOCK_SKEW_SECONDS:
            raise BadRequestError(401, "the time stamp is too far from now")
        operation = http.path.replace("-", "_")
        try:
            fields = json.loads(http.body)
        except ValueError as error:
            raise BadRequestError(400, "not JSON") from error
        if not isinstance(fields, dict):
            raise BadRequestError(400, "an object is expected")
        return request_of(http.biller, operation, fields)

    def write(self, request: BillerRequest, reply: BillerReply, secret: str) -> bytes:
        """See BillerDialect."""
        return json.dumps(reply_fields(request, reply), ensure_ascii=False).encode()

    def day_file(self, lines: Sequence[BookLine]) -> bytes:
        """See BillerDialect."""
        return day_list(lines).encode()


class FormDialect(JsonDialect):
    """A signed form, both ways; bills are JSON in a field."""

    media_type = "application/x-www-form-urlencoded"

    def read(self, http: HttpRequest, secret: str) -> BillerRequest:
        """See BillerDialect."""
        if http.path != "gateway":
            raise BadRequestError(404, "POST to gateway")
        try:
            fields: dict[str, Any] = dict(parse_qsl(http.body.decode(), strict_parsing=True))
        except ValueError as error:
            raise BadRequestError(400, "not a form") from error
        given = fields.pop("sign", "")
        check(_sign(fields, secret), given)
        if fields.get("amount_minor", "").isdecimal():
            fields["amount_minor"] = int(fields["amount_minor"])
        return request_of(http.biller, fields.get("service", ""), fields)

    def write(self, request: BillerRequest, reply: BillerReply, secret: str) -> bytes:
        """See BillerDialect."""
        fields = {
            name: json.dumps(value, ensure_ascii=False) if name == "bills" else str(value)
            for name, value in reply_fields(request, reply).items()
        }
        return urlencode({**fields, "sign": _sign(fields, secret)}).encode()


def check(wanted: str, given: str) -> None:
    """Raises BadRequestError when a signature is not the one wanted."""
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise BadRequestError(401, "the signature does not hold")


def request_of(biller: str, operation: str, fields: Mapping[str, Any]) -> BillerRequest:
    """The question in these fields; raises BadRequestError when something is missing or of another type."""
    wanted = {
        "lookup": ("account_number",),
        "apply": ("serial", "account_number", "bill_number", "amount_minor"),
        "query": ("serial",),
        "unapply": ("serial",),
        "day_file": ("day",),
    }.get(operation)
    if wanted is None:
        raise BadRequestError(404, "there is no such operation")
    given = {name: fields.get(name) for name in wanted}
    for name, value in given.items():
        if type(value) is not (int if name == "amount_minor" else str) or not value:
            raise BadRequestError(400, f"{name} is missing or of the wrong type")
    return BillerRequest(biller, operation, **given)  # type: ignore[arg-type]  # just checked


def reply_fields(request: BillerRequest, reply: BillerReply) -> dict[str, Any]:
    """Return the response's fields, which repeat the request's identity and everything known under a serial."""
    fields: dict[str, Any] = {"status": reply.status}
    if reply.code:
        fields["code"] = reply.code
    if request.operation == "lookup":
        fields["account_number"] = reply.account_number
        fields["bills"] = [_bill(each) for each in reply.bills]
        return fields
    fields["serial"] = reply.serial
    known = {
        "account_number": reply.account_number,
        "bill_number": reply.bill_number,
        "amount_minor": reply.amount_minor,
        "currency": reply.currency,
        "reference": reply.reference,
    }
    return fields | {name: value for name, value in known.items() if value not in {None, ""}}


def day_list(lines: Sequence[BookLine], major: Any = str) -> str:
    """`count|total`, then `date|serial|bill|amount|kind|time` per line; unapplies count against the total."""
    total = sum(each.amount_minor * (1 if each.kind == "apply" else -1) for each in lines)
    rows = [f"{len(lines)}|{major(total)}"]
    for each in lines:
        rows.append(
            f"{day_of(each.at)}|{each.serial}|{each.bill_number}|{major(each.amount_minor)}|{each.kind}|{iso(each.at)}"
        )
    return "\n".join(rows) + "\n"


def _bill(bill: IssuedBill) -> dict[str, Any]:
    fields = {
        "bill_number": bill.bill_number,
        "period": bill.period,
        "amount_minor": bill.amount_minor,
        "currency": CURRENCY,
        "rule": bill.rule,
        "min_minor": bill.min_minor,
        "max_minor": bill.max_minor,
        "multiple_minor": bill.multiple_minor,
        "due_on": bill.due_on,
        "expires_at": iso(bill.expires_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _sign(fields: Mapping[str, Any], secret: str) -> str:
    joined = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    return hashlib.sha256(f"{joined}&key={secret}".encode()).hexdigest()

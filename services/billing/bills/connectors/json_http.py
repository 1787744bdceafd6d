"""The dialect `json`: JSON over HTTP, amounts in fen, each request signed with HMAC-SHA256 over time stamp and body."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.dialect import (
    BillerReply,
    BillerRequest,
    Dialect,
    NonsenseError,
    Status,
)
from services.billing.bills.connectors.protocol import BillerBill, DayFileLine
from services.billing.bills.connectors.reading import code, integer, moment, text

_STATUS: dict[str, Status] = {
    "OK": "ok",
    "NO_ACCOUNT": "no_account",
    "NOT_APPLIED": "not_applied",
    "UNAPPLIED": "unapplied",
    "REFUSED": "refused",
}


class JsonHttp(Dialect):
    """JSON with snake_case fields; every amount is an integer of minor units."""

    def build_request(self, operation: str, fields: Mapping[str, str]) -> BillerRequest:
        """See Dialect."""
        payload: dict[str, Any] = dict(fields)
        if "amount_minor" in payload:
            payload["amount_minor"] = int(payload["amount_minor"])
        body = json.dumps(payload, separators=(",", ":")).encode()
        at = str(int(time.time()))
        signature = hmac.new(
            self.endpoint.secret.encode(), at.encode() + b"." + body, hashlib.sha256
        ).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Timestamp": at,
            "X-Signature": signature,
        }
        return BillerRequest(f"/{operation.replace('_', '-')}", body, headers)

    def read_response(self, operation: str, content: bytes) -> BillerReply:
        """See Dialect."""
        return reply(json.loads(content))

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """UTF-8, amounts in fen."""
        return day_file.parse(content, self.endpoint.currency)


def reply(answer: object) -> BillerReply:
    """Return the reply in these fields. Raises NonsenseError for an unknown status, which is no refusal."""
    if not isinstance(answer, dict):
        raise NonsenseError("nonsense: an object is expected")
    status = _STATUS[answer["status"]]
    return BillerReply(
        status,
        code=code(answer["code"]) if status == "refused" else "",
        account_number=_name(answer, "account_number"),
        serial=_name(answer, "serial"),
        bill_number=_name(answer, "bill_number"),
        amount_minor=_optional(answer.get("amount_minor")),
        currency=_name(answer, "currency"),
        reference=text(answer["reference"]) if "reference" in answer else "",
        bills=[_bill(each) for each in answer.get("bills", ())],
    )


def _bill(item: object) -> BillerBill:
    if not isinstance(item, dict):
        raise TypeError("a bill must be an object")
    due = item.get("due_on")
    return BillerBill(
        bill_number=text(item["bill_number"]),
        period=text(item["period"]),
        amount_minor=integer(item["amount_minor"]),
        currency=text(item["currency"]),
        # The rule is validated for all dialects, before a bill is stored.
        rule=item["rule"],
        expires_at=moment(item["expires_at"]),
        min_minor=_optional(item.get("min_minor")),
        max_minor=_optional(item.get("max_minor")),
        multiple_minor=_optional(item.get("multiple_minor")),
        due_on=date.fromisoformat(due) if due else None,
    )


def _name(answer: dict[str, Any], field: str) -> str:
    value = answer.get(field)
    return "" if value is None else str(value)


def _optional(value: object) -> int | None:
    return None if value is None else integer(value)

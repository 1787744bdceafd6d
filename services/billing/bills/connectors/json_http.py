"""The dialect `json`: JSON over HTTP, amounts in fen, each request signed with HMAC-SHA256 over time stamp and body."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.dialect import Dialect, Reply, Request
from services.billing.bills.connectors.protocol import BillerBill, DayFileLine

_STATUS = {
    "OK": "ok",
    "NO_ACCOUNT": "no_account",
    "NOT_APPLIED": "not_applied",
    "UNAPPLIED": "unapplied",
}


class JsonHttp(Dialect):
    """JSON with snake_case fields; every amount is an integer of minor units."""

    def question(self, operation: str, fields: Mapping[str, str]) -> Request:
        said: dict[str, Any] = dict(fields)
        if "amount_minor" in said:
            said["amount_minor"] = int(said["amount_minor"])
        body = json.dumps(said, separators=(",", ":")).encode()
        at = str(int(time.time()))
        signature = hmac.new(
            self.endpoint.secret.encode(), at.encode() + b"." + body, hashlib.sha256
        ).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Timestamp": at,
            "X-Signature": signature,
        }
        return Request(f"/{operation.replace('_', '-')}", body, headers)

    def read(self, operation: str, content: bytes) -> Reply:
        answer = json.loads(content)
        status = _STATUS.get(answer["status"], "refused")
        amount = answer.get("amount_minor")
        if amount is not None and type(amount) is not int:
            raise TypeError("amount_minor must be an integer")
        bills = [self._bill(each) for each in answer.get("bills", ())]
        return Reply(
            status,
            str(answer.get("code", answer["status"])).lower(),
            str(answer.get("serial", "")),
            amount,
            str(answer.get("reference", "")),
            bills,
        )

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """UTF-8, amounts in fen."""
        return day_file.parse(content, self.endpoint.currency)

    def _bill(self, said: Mapping[str, Any]) -> BillerBill:
        due = said.get("due_on")
        return BillerBill(
            bill_number=str(said["bill_number"]),
            period=str(said["period"]),
            amount_minor=_integer(said["amount_minor"]),
            currency=str(said["currency"]),
            rule=said["rule"],
            expires_at=datetime.fromisoformat(said["expires_at"]),
            min_minor=_optional(said.get("min_minor")),
            max_minor=_optional(said.get("max_minor")),
            multiple_minor=_optional(said.get("multiple_minor")),
            due_on=date.fromisoformat(due) if due else None,
        )


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError("an amount must be an integer")
    return value


def _optional(value: object) -> int | None:
    return None if value is None else _integer(value)

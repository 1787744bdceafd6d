"""The dialect `form`: sorted fields in a form, signed with SHA-256 over them and the shared secret, as UnionPay and
Alipay do it. Responses are signed forms, too, with bills as JSON in a field; amounts are fen.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.dialect import (
    BillerReply,
    BillerRequest,
    Dialect,
    NonsenseError,
)
from services.billing.bills.connectors.json_http import reply
from services.billing.bills.connectors.protocol import DayFileLine


class SignedForm(Dialect):
    """The fields of the JSON dialect in a signed form."""

    def build_request(self, operation: str, fields: Mapping[str, str]) -> BillerRequest:
        """See Dialect."""
        form = {**fields, "service": operation}
        form["sign"] = sign(form, self.endpoint.secret)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return BillerRequest("/gateway", urlencode(form).encode(), headers)

    def read_response(self, operation: str, content: bytes) -> BillerReply:
        """See Dialect. Raises NonsenseError for a response that the biller has not signed."""
        form = dict(parse_qsl(content.decode("ascii"), strict_parsing=True, errors="strict"))
        given = form.pop("sign", "")
        if not hmac.compare_digest(given.encode(), sign(form, self.endpoint.secret).encode()):
            raise NonsenseError("nonsense: the answer's signature does not hold")
        answer: dict[str, object] = {**form}
        if "amount_minor" in form:
            answer["amount_minor"] = int(form["amount_minor"])
        if "bills" in form:
            answer["bills"] = json.loads(form["bills"])
        return reply(answer)

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """UTF-8, amounts in fen."""
        return day_file.parse(content, self.endpoint.currency)


def sign(fields: Mapping[str, str], secret: str) -> str:
    """Return the SHA-256 over the sorted fields and the secret, in hexadecimal."""
    joined = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    return hashlib.sha256(f"{joined}&key={secret}".encode()).hexdigest()

"""The dialect `form`: sorted fields in a form, signed with SHA-256 over them and the shared secret, as UnionPay and
Alipay do it. Answers are signed forms, too, with bills as JSON in a field; amounts are fen.
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
    """The fields of JSON, wrapped in a signed form."""

    def question(self, operation: str, fields: Mapping[str, str]) -> BillerRequest:
        """See Dialect."""
        said = {**fields, "service": operation}
        said["sign"] = sign(said, self.endpoint.secret)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return BillerRequest("/gateway", urlencode(said).encode(), headers)

    def read(self, operation: str, content: bytes) -> BillerReply:
        """See Dialect; what the biller has not signed is nonsense."""
        said = dict(parse_qsl(content.decode("ascii"), strict_parsing=True, errors="strict"))
        given = said.pop("sign", "")
        if not hmac.compare_digest(given.encode(), sign(said, self.endpoint.secret).encode()):
            raise NonsenseError("nonsense: the answer's signature does not hold")
        answer: dict[str, object] = {**said}
        if "amount_minor" in said:
            answer["amount_minor"] = int(said["amount_minor"])
        if "bills" in said:
            answer["bills"] = json.loads(said["bills"])
        return reply(answer)

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """UTF-8, amounts in fen."""
        return day_file.parse(content, self.endpoint.currency)


def sign(fields: Mapping[str, str], secret: str) -> str:
    """SHA-256 over the sorted fields and the secret, in hexadecimal."""
    said = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    return hashlib.sha256(f"{said}&key={secret}".encode()).hexdigest()

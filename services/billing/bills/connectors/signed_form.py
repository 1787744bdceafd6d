"""The dialect `form`: fields in a form, sorted and signed with SHA-256 over them and the shared secret (the signature that
collection agencies know from UnionPay and Alipay); answers are forms, too, amounts in fen.
"""

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from services.billing.bills.connectors.dialect import NonsenseError, Reply, Request
from services.billing.bills.connectors.json_http import JsonHttp


class SignedForm(JsonHttp):
    """Like JSON, but wrapped in a signed form, both ways."""

    def question(self, operation: str, fields: Mapping[str, str]) -> Request:
        said = {**fields, "service": operation}
        said["sign"] = sign(said, self.endpoint.secret)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("/gateway", urlencode(said).encode(), headers)

    def read(self, operation: str, content: bytes) -> Reply:
        answer = dict(parse_qsl(content.decode(), strict_parsing=True))
        if answer.pop("sign", "") != sign(answer, self.endpoint.secret):
            raise NonsenseError("nonsense: the answer's signature does not hold")
        return super().read(operation, json.dumps(_typed(answer)).encode())


def sign(fields: Mapping[str, str], secret: str) -> str:
    """SHA-256 over the sorted fields and the secret, in hexadecimal."""
    said = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    return hashlib.sha256(f"{said}&key={secret}".encode()).hexdigest()


def _typed(answer: dict[str, str]) -> dict[str, object]:
    typed: dict[str, object] = dict(answer)
    if "amount_minor" in answer:
        typed["amount_minor"] = int(answer["amount_minor"])
    if "bills" in answer:
        typed["bills"] = json.loads(answer["bills"])
    return typed

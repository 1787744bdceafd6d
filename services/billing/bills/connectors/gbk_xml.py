"""The dialect `gbk-xml`: the classical collection protocol (代收费): GBK-encoded XML, a TranCode per operation, amounts
in yuan with two decimals, `AAAAAAA` for success. Responses name no currency. A document type declaration is always
refused.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from chassis import china
from events.bills import AmountRule
from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.dialect import (
    BillerReply,
    BillerRequest,
    Dialect,
    NonsenseError,
    Status,
)
from services.billing.bills.connectors.protocol import BillerBill, DayFileLine
from services.billing.bills.connectors.reading import code, moment, text

TRAN_CODES = {
    "lookup": "Query",
    "apply": "Pay",
    "query": "PayQuery",
    "unapply": "Reverse",
    "day_file": "PayCheck",
}
_STATUS: dict[str, Status] = {
    "AAAAAAA": "ok",
    "E000001": "no_account",
    "E000002": "not_applied",
    "E000003": "unapplied",
}
# Only these codes are refusals; any other code is not understood, and so unknown.
_REFUSALS = {
    "E000101": "bill_not_found",
    "E000102": "bill_already_paid",
    "E000103": "bill_expired",
    "E000104": "amount_refused",
    "E000105": "serial_reused",
    "E000106": "serial_unapplied",
    "E000107": "not_same_day",
}
_REFUSAL = re.compile(r"E0001[0-9]{2}")
_RULES: dict[str, AmountRule] = {
    "0": "exact",
    "1": "at_least",
    "2": "at_most",
    "3": "range",
    "9": "any",
}
_YUAN = re.compile(r"([0-9]{1,18})\.([0-9]{2})")


class GbkXml(Dialect):
    """XML in GBK; amounts are yuan in messages and minor units here."""

    def build_request(self, operation: str, fields: Mapping[str, str]) -> BillerRequest:
        """See Dialect."""
        members = {
            "BillKey": fields.get("account_number", ""),
            "BillNo": fields.get("bill_number", ""),
            "PayAmount": yuan(int(fields["amount_minor"])) if "amount_minor" in fields else "",
            "PayDate": fields.get("day", ""),
        }
        inner = "".join(
            f"<{name}>{escape(value)}</{name}>" for name, value in members.items() if value
        )
        head = (
            f"<Version>1.0</Version><InstId>{escape(self.endpoint.biller_id)}</InstId>"
            f"<TranCode>{TRAN_CODES[operation]}</TranCode><TranDate>{china.today():%Y%m%d}</TranDate>"
            f"<TranSeq>{escape(fields.get('serial', ''))}</TranSeq>"
        )
        document = (
            '<?xml version="1.0" encoding="GBK"?>'
            f"<Request><Head>{head}</Head><Body>{inner}</Body></Request>"
        ).encode("gbk")
        mac = hashlib.sha256(document + self.endpoint.secret.encode()).hexdigest()
        return BillerRequest(
            "/service", document, {"Content-Type": "text/xml; charset=GBK", "X-Mac": mac}
        )

    def read_response(self, operation: str, content: bytes) -> BillerReply:
        """See Dialect."""
        root = parse_xml(content)
        return_code = _text(root, "Head/RetCode")
        refused = _REFUSAL.fullmatch(return_code)
        amount, reference = root.findtext("Body/PayAmount"), root.findtext("Body/RefNo")
        return BillerReply(
            "refused" if refused else _STATUS[return_code],
            code=_REFUSALS.get(return_code, code(return_code)) if refused else "",
            account_number=root.findtext("Body/BillKey") or "",
            serial=root.findtext("Head/TranSeq") or "",
            bill_number=root.findtext("Body/BillNo") or "",
            amount_minor=fen(amount) if amount else None,
            reference=text(reference) if reference else "",
            bills=[self._bill(each) for each in root.findall("Body/Bill")],
        )

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """GBK, amounts in yuan."""
        return day_file.parse(content, self.endpoint.currency, "gbk", _signed_fen)

    def _bill(self, element: ET.Element) -> BillerBill:
        due = element.findtext("DueDate")
        return BillerBill(
            bill_number=text(_text(element, "BillNo")),
            period=text(_text(element, "Period")),
            amount_minor=fen(_text(element, "Amount")),
            currency=self.endpoint.currency,
            rule=_RULES[_text(element, "PayRule")],
            expires_at=moment(_text(element, "ExpireTime")),
            min_minor=_optional(element, "MinAmount"),
            max_minor=_optional(element, "MaxAmount"),
            multiple_minor=_optional(element, "Multiple"),
            due_on=datetime.strptime(f"{due}+0000", "%Y%m%d%z").date() if due else None,
        )


def yuan(amount_minor: int) -> str:
    """8850 -> 88.50"""
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{abs(amount_minor) // 100}.{abs(amount_minor) % 100:02d}"


def fen(text: str) -> int:
    """88.50 -> 8850. Raises ValueError for anything but yuan with two decimals."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise ValueError("yuan with two decimals expected")
    return int(match[1]) * 100 + int(match[2])


def parse_xml(content: bytes) -> ET.Element:
    """Return the root of a GBK document. Raises NonsenseError for a document type, another encoding or broken XML."""
    try:
        document = content.decode("gbk")
    except UnicodeDecodeError as error:
        raise NonsenseError("nonsense: not GBK") from error
    if "<!DOCTYPE" in document.upper() or "<!ENTITY" in document.upper():
        raise NonsenseError("nonsense: a document type declaration is refused")
    try:
        # Expat does not know GBK, so it gets the decoded text without the declaration.
        return ET.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", document))  # noqa: S314 - no DTD gets here
    except ET.ParseError as error:
        raise NonsenseError("nonsense: broken XML") from error


def _signed_fen(text: str) -> int:
    return -fen(text[1:]) if text.startswith("-") else fen(text)


def _text(element: ET.Element, path: str) -> str:
    found = element.findtext(path)
    if not found:
        raise KeyError(path)
    return found


def _optional(element: ET.Element, path: str) -> int | None:
    value = element.findtext(path)
    return fen(value) if value else None

"""The dialect `gbk-xml`: POST /<biller>/service with a GBK-encoded document, amounts in yuan with two decimals.

X-Mac is SHA-256, in hexadecimal, over the document and the secret. RetCode AAAAAAA is success, and RetMsg says the rest
in Chinese. A document type is refused.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from sandbox.billers.biller_book import BillerReply, BillerRequest, BookLine, IssuedBill
from sandbox.billers.dialects import BadRequestError, HttpRequest, check, day_list, request_of
from sandbox.china_time import iso

_OPERATIONS = {
    "Query": "lookup",
    "Pay": "apply",
    "PayQuery": "query",
    "Reverse": "unapply",
    "PayCheck": "day_file",
}
_TRAN_CODES = {operation: code for code, operation in _OPERATIONS.items()}
_RULES = {"exact": "0", "at_least": "1", "at_most": "2", "range": "3", "any": "9"}
_STATUS = {
    "OK": ("AAAAAAA", "交易成功"),
    "NO_ACCOUNT": ("E000001", "户号不存在"),
    "NOT_APPLIED": ("E000002", "原交易不存在"),
    "UNAPPLIED": ("E000003", "已冲正"),
}
_REFUSALS = {
    "bill_not_found": ("E000101", "账单不存在"),
    "bill_already_paid": ("E000102", "账单已销账"),
    "bill_expired": ("E000103", "账单已过期"),
    "amount_refused": ("E000104", "缴费金额不符"),
    "serial_reused": ("E000105", "流水号重复"),
    "serial_unapplied": ("E000106", "流水号已冲正"),
    "not_same_day": ("E000107", "只能冲正当日交易"),
}
_OTHER_REFUSAL = ("E000199", "交易被拒绝")
_YUAN = re.compile(r"(\d{1,13})\.(\d\d)")


class GbkXmlDialect:
    """The classical collection protocol."""

    media_type = "text/xml; charset=GBK"

    def read(self, http: HttpRequest, secret: str) -> BillerRequest:
        """See BillerDialect."""
        if http.path != "service":
            raise BadRequestError(404, "POST to service")
        mac = hashlib.sha256(http.body + secret.encode()).hexdigest()
        check(mac, http.headers.get("x-mac", ""))
        try:
            text = http.body.decode("gbk")
            if "<!DOCTYPE" in text.upper():
                raise BadRequestError(400, "a document type is refused")
            # Expat knows no GBK, so it gets decoded text without the declaration.
            root = ET.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text))  # noqa: S314
        except (UnicodeDecodeError, ET.ParseError) as error:
            raise BadRequestError(400, "no XML in GBK") from error
        fields: dict[str, Any] = {
            "serial": root.findtext("Head/TranSeq"),
            "account_number": root.findtext("Body/BillKey"),
            "bill_number": root.findtext("Body/BillNo"),
            "day": root.findtext("Body/PayDate"),
        }
        amount = _YUAN.fullmatch(root.findtext("Body/PayAmount") or "")
        if amount:
            fields["amount_minor"] = int(amount[1]) * 100 + int(amount[2])
        operation = _OPERATIONS.get(root.findtext("Head/TranCode") or "", "")
        return request_of(http.biller, operation, fields)

    def write(self, request: BillerRequest, reply: BillerReply, secret: str) -> bytes:
        """See BillerDialect."""
        code, message = _STATUS.get(reply.status) or _REFUSALS.get(reply.code, _OTHER_REFUSAL)
        head = _elements(
            Version="1.0",
            InstId=request.biller,
            TranCode=f"{_TRAN_CODES[request.operation]}Res",
            TranSeq=reply.serial,
            RetCode=code,
            RetMsg=message,
        )
        paid = "" if reply.amount_minor is None else yuan(reply.amount_minor)
        body = _elements(
            BillKey=reply.account_number,
            BillNo=reply.bill_number,
            PayAmount=paid,
            RefNo=reply.reference,
        )
        bills = "".join(f"<Bill>{_bill(each)}</Bill>" for each in reply.bills)
        return (
            '<?xml version="1.0" encoding="GBK"?>\n'
            f"<Response><Head>{head}</Head><Body>{body}{bills}</Body></Response>"
        ).encode("gbk")

    def day_file(self, lines: Sequence[BookLine]) -> bytes:
        """See BillerDialect."""
        return day_list(lines, yuan).encode("gbk")


def yuan(amount_minor: int) -> str:
    """8850 -> 88.50"""
    whole, rest = divmod(abs(amount_minor), 100)
    return f"{'-' if amount_minor < 0 else ''}{whole}.{rest:02d}"


def _bill(bill: IssuedBill) -> str:
    return _elements(
        BillNo=bill.bill_number,
        Period=bill.period,
        Amount=yuan(bill.amount_minor),
        PayRule=_RULES[bill.rule],
        MinAmount="" if bill.min_minor is None else yuan(bill.min_minor),
        MaxAmount="" if bill.max_minor is None else yuan(bill.max_minor),
        Multiple="" if bill.multiple_minor is None else yuan(bill.multiple_minor),
        DueDate=(bill.due_on or "").replace("-", ""),
        ExpireTime=iso(bill.expires_at),
    )


def _elements(**values: str) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items() if value)

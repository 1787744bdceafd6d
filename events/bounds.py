"""Bounds: the longest length of each text, declared once, for the doors that check it and the columns that store it.

A text that a door accepts fits into every later write. A text that is refused at the door costs an error message; a
text that is refused after money has moved leaves a payment open. Lengths are in characters.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

CHANNEL_ID = 40
BILLER_ID = 40
PAYER = 64
PAYMENT_METHOD = 64
REASON = 64
# A biller's own texts, as printed on a bill.
ACCOUNT_NUMBER = 64
BILL_NUMBER = 64
PERIOD = 64
RECEIPT_NUMBER = 24
# Ids given by the PSP.
PSP_ID = 255
# Browsers and messengers cut longer addresses.
ACTION_URL = 2_048
# Given by the caller; it follows a payment through every event.
CORRELATION_ID = 128
# W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>.
TRACEPARENT = 55


# Without control characters: PostgreSQL stores no NUL, and our texts are single lines.
STORABLE = r"^[^\u0000-\u001f\u007f]*$"
_NOT_STORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return True when the text has neither control characters nor lone surrogates, which UTF-8 cannot encode."""
    return _NOT_STORABLE.search(text) is None


def storable(text: str, longest: int) -> str:
    """Return the text cut to `longest` characters, with \ufffd for each character that cannot be stored."""
    return _NOT_STORABLE.sub("\ufffd", text[:longest])


def text(longest: int, **more: Any) -> Any:
    """Return a pydantic Field that refuses a text which is longer or cannot be stored; `more` is passed to Field."""
    return Field(max_length=longest, pattern=STORABLE, **more)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Annotates a text whose JSON Schema promises no bound: it is cut to fit instead of being refused.

    A schema may not become narrower within a major version, so a text that was allowed once must be read for ever.
    """

    longest: int

    def fit(self, text: str) -> str:
        """Return the text as it can be stored."""
        return storable(text, self.longest)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.fit, handler(source))

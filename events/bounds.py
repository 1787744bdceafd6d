"""Bounds: how long each text may be, declared once, for the doors that check it and for the columns that hold it.

What a door lets in, every later write can hold. A text that is refused where it comes in costs an error message; one
that is refused after money has moved outside leaves a payment open. Lengths are in characters.
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
# A biller's own: what is printed on a bill, and nobody reads more.
ACCOUNT_NUMBER = 64
BILL_NUMBER = 64
PERIOD = 64
RECEIPT_NUMBER = 24
# Of whatever the PSP names with an id.
PSP_ID = 255
# Browsers and messengers cut longer addresses.
ACTION_URL = 2_048
# Given by whoever starts something; it follows a payment through every event.
CORRELATION_ID = 128
# W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>.
TRACEPARENT = 55


# Without control characters: PostgreSQL takes no NUL, and a text of ours stands on one line.
STORABLE = r"^[^\u0000-\u001f\u007f]*$"
_NOT_STORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether the text has neither control characters nor halves of surrogate pairs, which UTF-8 can't write."""
    return _NOT_STORABLE.search(text) is None


def storable(text: str, longest: int) -> str:
    """The text cut to that many characters, with \ufffd for each that can't be stored."""
    return _NOT_STORABLE.sub("\ufffd", text[:longest])


def text(longest: int, **more: Any) -> Any:
    """A pydantic Field of a text that is refused when it is longer or can't be stored; `more` is passed on to Field."""
    return Field(max_length=longest, pattern=STORABLE, **more)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Annotates a text of a message whose JSON Schema promises no bound: it is made to fit instead of being refused.

    A schema may not become narrower within a major version, so whatever was allowed once is read for ever.
    """

    longest: int

    def fit(self, text: str) -> str:
        """The text as it can be kept."""
        return storable(text, self.longest)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.fit, handler(source))

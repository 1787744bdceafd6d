"""Money in messages: an integer in minor units and an ISO 4217 currency, always side by side."""

from typing import Annotated

from pydantic import Field

Currency = Annotated[
    str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code, for example CNY")
]

# 2^53 - 1: the largest integer that every JSON reader keeps exact (RFC 8259 §6).
LARGEST_MINOR = 9_007_199_254_740_991

AmountMinor = Annotated[
    int,
    Field(
        gt=0, le=LARGEST_MINOR, strict=True, description="amount in minor units: 8850 is CNY 88.50"
    ),
]
AmountMinorOrZero = Annotated[
    int, Field(ge=0, le=LARGEST_MINOR, strict=True, description="amount in minor units; may be 0")
]

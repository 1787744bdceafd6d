"""Whom billing asks outside, as errands name them: the PSP, and each biller."""

from errands import Institutions

PSP = "psp"
# Nobody outside: what is left to do is ours alone.
LEDGER = "ledger"


def of_biller(biller_id: str) -> str:
    """The institution that a biller is."""
    return f"biller:{biller_id}"


def describe_ours(
    institutions: Institutions,
    *,
    places: int,
    psp_timeout_seconds: float,
    late_effect_seconds: float,
) -> None:
    """Describe the PSP and our own ledger; billers are described by the catalogue (bills/connectors)."""
    institutions.describe(
        PSP,
        places=places,
        line=places,
        longest_call_seconds=psp_timeout_seconds,
        late_effect_seconds=late_effect_seconds,
    )
    institutions.describe(LEDGER, places=10_000, longest_call_seconds=1.0, late_effect_seconds=0.0)

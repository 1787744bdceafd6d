"""The institutions of billing's errands: the PSP, each biller, and our own ledger."""

from errands import Institutions

PSP = "psp"
# Our own ledger: no external call is left to make.
LEDGER = "ledger"


def of_biller(biller_id: str) -> str:
    """Return the name of a biller as an institution."""
    return f"biller:{biller_id}"


def describe_ours(
    institutions: Institutions,
    *,
    places: int,
    psp_timeout_seconds: float,
    late_effect_seconds: float,
) -> None:
    """Set the bounds of the PSP and of our ledger; those of billers come from the catalogue (bills/connectors)."""
    institutions.describe(
        PSP,
        places=places,
        line=places,
        longest_call_seconds=psp_timeout_seconds,
        late_effect_seconds=late_effect_seconds,
    )
    institutions.describe(LEDGER, places=10_000, longest_call_seconds=1.0, late_effect_seconds=0.0)

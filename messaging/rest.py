"""Rest after little work (decision 11).

A small batch costs nearly what a large one does. Whoever works in batches rests after a small one for as long as it
took, and no longer than LONGEST_SECONDS: what comes after a pause is served at once, and a busy process does not run
after single records.
"""

LONGEST_SECONDS = 0.015


def rest_seconds(worked: float) -> float:
    """How long to rest after so many seconds of work."""
    return min(worked, LONGEST_SECONDS)

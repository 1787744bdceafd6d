"""Rest after little work (decision 11).

A small batch costs nearly as much as a large one. So a process rests after a small batch for as long as the batch
took, at most LONGEST_SECONDS: the first work after a pause is done at once, and a busy process does not handle
records one by one.
"""

LONGEST_SECONDS = 0.015


def rest_seconds(worked_seconds: float) -> float:
    """Return the length of the rest after a batch that took `worked_seconds`."""
    return min(worked_seconds, LONGEST_SECONDS)

"""Slopes: a straight line through the checkpoints, by least squares, as a change in per cent over the whole run."""

from collections.abc import Mapping, Sequence
from typing import Any

FEWEST = 3


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the line through the points by least squares: its value at 0, and its slope."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return mean_y - rise * mean_x, rise


def slopes(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], seconds: float, warm_up_seconds: float
) -> dict[str, dict[str, float]]:
    """Return the slope of each name over the checkpoints after the warm-up.

    `first` and `last` are the line's values at the end of the warm-up and at the end of the run, `per_cent` is the
    change between them. A name with too few checkpoints is left out. `rows` have `at_seconds` (the end of their
    interval, since the start) and `seconds` (its length).
    """
    by_name = {}
    for name in names:
        points = [
            (row["at_seconds"] - row["seconds"] / 2, float(row[name]))
            for row in rows
            if row["at_seconds"] - row["seconds"] >= warm_up_seconds - 1
            and row.get(name) is not None
        ]
        if len(points) < FEWEST:
            continue
        base, rise = fit(points)
        first, last = base + rise * warm_up_seconds, base + rise * seconds
        by_name[name] = {
            "first": first,
            "last": last,
            "per_cent": (last / first - 1) * 100 if first > 0 else 0.0,
        }
    return by_name

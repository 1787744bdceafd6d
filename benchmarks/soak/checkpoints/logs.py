"""Counts of the warnings and errors in the processes' logs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


def warnings(log: Path) -> dict[str, int]:
    """Count each warning and error in a log of JSON lines; `not_json` counts other lines."""
    counts: Counter[str] = Counter()
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            counts["not_json"] += 1
            continue
        if isinstance(entry, dict) and entry.get("level") in {"warning", "error", "critical"}:
            counts[_summary(entry)] += 1
    return dict(counts)


def _summary(entry: dict[str, Any]) -> str:
    """Return the event, its job, and the last error line of its exception."""
    lines = [line for line in str(entry.get("exception", "")).splitlines() if "Error" in line]
    parts = (entry.get("event"), entry.get("job"), lines[-1].strip() if lines else None)
    return " ".join(str(part)[:120] for part in parts if part)

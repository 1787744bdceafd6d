"""What the processes had to complain about, from their own logs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


def warnings(log: Path) -> dict[str, int]:
    """How often each warning and error is in a log of JSON lines; `not_json` are other lines."""
    counts: Counter[str] = Counter()
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            counts["not_json"] += 1
            continue
        if isinstance(said, dict) and said.get("level") in {"warning", "error", "critical"}:
            counts[_summary(said)] += 1
    return dict(counts)


def _summary(said: dict[str, Any]) -> str:
    """The event, of which job, and how its exception ends."""
    lines = [line for line in str(said.get("exception", "")).splitlines() if "Error" in line]
    parts = (said.get("event"), said.get("job"), lines[-1].strip() if lines else None)
    return " ".join(str(part)[:120] for part in parts if part)

"""What the processes had to complain about, from their own logs."""

import json
from collections import Counter
from pathlib import Path


def warnings(log: Path) -> dict[str, int]:
    """How often each event of a warning or an error is in a log of JSON lines; `not_json` are other lines."""
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
            counts[str(said.get("event", ""))[:80]] += 1
    return dict(counts)

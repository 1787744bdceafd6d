"""The PSP's own book, for a comparison with ours: what it holds, took and gave back, with our metadata."""

import json
from typing import Any

from sandbox.psp.psp_store import PspStore


def book(store: PspStore) -> dict[str, Any]:
    """Every hold, capture and refund, oldest first. `id` is the intent's, or the refund's for refunds."""
    rows = store.query(
        "SELECT kind, id, intent_id, amount_minor, currency, status, at, metadata FROM book"
        " ORDER BY at, id"
    )
    book: dict[str, Any] = {"holds": [], "captures": [], "refunds": []}
    for kind, id, intent_id, amount_minor, currency, status, at, metadata in rows:
        known = json.loads(metadata)
        book[f"{kind}s"].append(
            {
                "id": id,
                "intent_id": intent_id,
                "charge_id": known.get("charge_id"),
                "refund_id": known.get("refund_id"),
                "amount_minor": amount_minor,
                "currency": currency,
                "status": status,
                "at": at,
                "metadata": known,
            }
        )
    return book

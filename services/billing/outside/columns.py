"""Columns that payments, refunds and top-ups share: each begins with a command, makes external calls, and ends."""

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Integer,
    String,
    func,
)

from events import bounds


def ending_columns() -> list[Column[object]]:
    """Return the columns about beginning and end; in between, an errand stands for the row (errands/)."""
    return [
        Column("reason", String(bounds.REASON)),
        Column("correlation_id", String(bounds.CORRELATION_ID)),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("finished_at", DateTime(timezone=True)),
    ]


def charging_columns() -> list[Column[object]]:
    """Return the columns of a row that is charged at the PSP and has events of its own."""
    return [
        Column("version", Integer, nullable=False),  # counts its events
        Column("psp_intent_id", String(bounds.PSP_ID)),
        # True for rows that were open when the PSP's keys began to name the kind: the PSP may know them by the old key.
        Column("former_psp_key", Boolean),
        # Where the payer confirms, while that is needed.
        Column("action_url", String(bounds.ACTION_URL)),
    ]

"""Columns of what begins with a command, is asked for outside, and ends: payments, refunds, top-ups."""

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
    """Of what begins with a command and ends; in between an errand stands for it (errands/)."""
    return [
        Column("reason", String(bounds.REASON)),
        Column("correlation_id", String(bounds.CORRELATION_ID)),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("finished_at", DateTime(timezone=True)),
    ]


def charging_columns() -> list[Column[object]]:
    """Of what is charged at the PSP and has events of its own."""
    return [
        Column("version", Integer, nullable=False),  # counts its events
        Column("psp_intent_id", String(bounds.PSP_ID)),
        # True for what was open when the PSP's keys began to name the kind: the PSP may know it by the former key.
        Column("former_psp_key", Boolean),
        # Where the payer confirms, while that is needed.
        Column("action_url", String(bounds.ACTION_URL)),
    ]

"""The tables of errands, declared on a service's metadata as the outbox's are. The DDL itself is in ddl.py."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    func,
)

# The length of our own names of kinds and legs.
LONGEST_WORD = 64
LONGEST_INSTITUTION = 64
LONGEST_NOTE = 200


def errands_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Declare `errands` and `paused_institutions`."""
    errands = Table(
        "errands",
        metadata,
        # The aggregate: its kind (payment, refund, top_up, lookup, …) and its id.
        Column("kind", String(LONGEST_WORD), primary_key=True),
        Column("subject", Uuid, primary_key=True),
        # The next call: its institution and its leg.
        Column("institution", String(LONGEST_INSTITUTION), nullable=False),
        Column("leg", String(LONGEST_WORD), nullable=False),
        Column("leg_since", DateTime(timezone=True), nullable=False, server_default=func.now()),
        # The number of claims. A result counts as the holder's only under the fence with which the errand was claimed.
        Column("fence", BigInteger, nullable=False, server_default="0"),
        # A lease once ran out, so another process may still work on it: query before calling. Never reset.
        Column("contested", Boolean, nullable=False, server_default="false"),
        # Calls in a row without an answer; they make the waits longer. Any progress sets it back to 0.
        Column("tries", Integer, nullable=False, server_default="0"),
        Column("unknown_since", DateTime(timezone=True)),
        # The time of the last call to this institution that had no answer: it may have taken effect.
        Column("sent_at", DateTime(timezone=True)),
        # Chooses the idempotency key of the calls: a new one only when the former call is proven to have done nothing.
        Column("attempt", Integer, nullable=False, server_default="1"),
        # Held: a process has it, and `due_at` ends its lease. Not held: from `due_at` on, any process may claim it.
        Column("held", Boolean, nullable=False, server_default="false"),
        Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        CheckConstraint("tries >= 0 AND attempt > 0 AND fence >= 0", name="counts_up"),
        CheckConstraint("unknown_since IS NULL OR sent_at IS NOT NULL", name="unknown_was_sent"),
        Index(None, "institution", "due_at"),
    )
    paused = Table(
        "paused_institutions",
        metadata,
        Column("institution", String(LONGEST_INSTITUTION), primary_key=True),
        Column("note", String(LONGEST_NOTE), nullable=False, server_default=""),
        Column("paused_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    return errands, paused

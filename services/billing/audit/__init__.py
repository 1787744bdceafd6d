"""The auditor: proves the invariants again, that money, proof and state agree. It only reads, and marks what it judged.

Each invariant is SQL over the raw tables of every room: a witness doesn't take a room's word for what is in its tables.
names.py lists them; made.py judges what was made in a span of time, standing.py what stands now.
"""

from services.billing.audit.audit import (
    AUDIT_SECONDS,
    REST,
    Violation,
    audit,
    audit_database,
    audit_job,
)

__all__ = ["AUDIT_SECONDS", "REST", "Violation", "audit", "audit_database", "audit_job"]

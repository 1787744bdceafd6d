"""The auditor: proves that money, receipts and states agree. It reads, and writes only which seals it has judged.

An invariant is SQL over the tables of all rooms: a witness reads the rows themselves and trusts no room's functions.
names.py lists the invariants; by_span.py judges rows of a span of time, current.py the present state.
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

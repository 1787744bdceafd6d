"""Reconciliation: statements in, matched with the ledger item by item, and the breaks between them."""

from services.billing.reconciliation.fetch import (
    StatementImported,
    Unavailable,
    import_billers,
    import_file,
    import_psp,
)
from services.billing.reconciliation.lines import Source, yesterday
from services.billing.reconciliation.list_breaks import Break, list_breaks
from services.billing.reconciliation.reconcile import Reconciliation, SourceResult, reconcile
from services.billing.reconciliation.report_day import Reported, report_day

__all__ = [
    "Break",
    "Reconciliation",
    "Reported",
    "Source",
    "SourceResult",
    "StatementImported",
    "Unavailable",
    "import_billers",
    "import_file",
    "import_psp",
    "list_breaks",
    "reconcile",
    "report_day",
    "yesterday",
]

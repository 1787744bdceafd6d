"""The catalogue: divisions, billers, their services and where they are offered."""

from services.billing.catalog.find import (
    Biller,
    CallTerms,
    all_billers,
    call_terms,
    find_billers,
)
from services.billing.catalog.import_file import CatalogueImported, import_catalogue
from services.billing.catalog.read_file import Catalogue, RowError, read

__all__ = [
    "Biller",
    "CallTerms",
    "Catalogue",
    "CatalogueImported",
    "RowError",
    "all_billers",
    "call_terms",
    "find_billers",
    "import_catalogue",
    "read",
]

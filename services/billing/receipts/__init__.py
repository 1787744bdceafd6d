"""Receipts: the proof of a succeeded payment, with a number that anyone can verify."""

from services.billing.receipts.issue import NewReceipt, issue, void
from services.billing.receipts.number import grouped, number_of

__all__ = ["NewReceipt", "grouped", "issue", "number_of", "void"]

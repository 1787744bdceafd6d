"""Bills."""

from services.billing.bills.find import Bill, find_bills

__all__ = ["Bill", "find_bills"]

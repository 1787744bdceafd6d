"""Bills: accounts at billers, the bills that they owe, and lookups."""

from services.billing.bills.accounts import find_or_open_accounts
from services.billing.bills.find import Bill, find_bills

__all__ = ["Bill", "find_bills", "find_or_open_accounts"]

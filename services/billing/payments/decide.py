"""Decide whether a payment may begin: the bill's snapshot, its expiry and the biller's rule do, never the caller."""

from events.payments import PayBill
from services.billing.bills import Bill
from services.billing.channels import Limits


def reason_against(command: PayBill, bill: Bill | None, limits: Limits) -> str | None:
    """A short code that says why not, or nothing."""
    limit = limits.get(command.channel)
    if limit is None:
        return "channel_unknown"
    if bill is None:
        return "bill_unknown"
    return _against_bill(command, bill) or ("above_limit" if command.amount_minor > limit else None)


def _against_bill(command: PayBill, bill: Bill) -> str | None:
    if bill.closed:
        return "bill_closed"
    if bill.expired:
        return "bill_expired"
    if bill.currency != command.currency:
        return "currency_mismatch"
    return None if allows(bill, command.amount_minor) else "amount_not_allowed"


def allows(bill: Bill, amount_minor: int) -> bool:
    """Whether the biller's amount rule takes this amount for this bill."""
    within = (
        amount_minor > 0
        and (bill.min_minor is None or amount_minor >= bill.min_minor)
        and (bill.max_minor is None or amount_minor <= bill.max_minor)
        and (not bill.multiple_minor or amount_minor % bill.multiple_minor == 0)
    )
    match bill.rule:
        case "exact":
            return within and amount_minor == bill.amount_minor
        case "at_least":
            return within and amount_minor >= bill.amount_minor
        case "at_most":
            return within and amount_minor <= bill.amount_minor
        case "range" | "any":
            return within  # min and max have decided

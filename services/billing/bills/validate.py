"""Validate bills before they are stored, from a biller's response or from a line of a biller's file."""

from collections.abc import Iterator, Sequence

from events import bounds
from events.money import LARGEST_MINOR
from services.billing.bills.connectors import BillerBill
from services.billing.bills.tables import RULES

# More open bills of one account are a mistake of the biller, and their event would not fit into Kafka.
MOST_BILLS = 500


def faults_of(bill: BillerBill, currency: str) -> Iterator[tuple[str, str]]:
    """Yield the faults of a bill of a biller that bills in `currency`: pairs of a field and what it must be."""
    for name, value, longest in (
        ("bill_number", bill.bill_number, bounds.BILL_NUMBER),
        ("period", bill.period, bounds.PERIOD),
    ):
        if not value or len(value) > longest or not value.isprintable():
            yield name, f"must be 1 to {longest} printable characters"
    if bill.currency != currency:
        yield "currency", f"must be {currency}, the biller's own"
    if bill.rule not in RULES:
        yield "rule", f"must be one of {', '.join(RULES)}"
    if not 0 <= bill.amount_minor <= LARGEST_MINOR:
        yield "amount_minor", "must not be negative, nor above 9007199254740991"
    for name, amount, least in (
        ("min_minor", bill.min_minor, 0),
        ("max_minor", bill.max_minor, 0),
        ("multiple_minor", bill.multiple_minor, 1),
    ):
        if amount is not None and not least <= amount <= LARGEST_MINOR:
            yield name, f"must be at least {least}, or empty"
    if bill.rule == "range" and (bill.min_minor is None or bill.max_minor is None):
        yield "rule", "needs min_minor and max_minor for a range"
    if (
        None is not bill.min_minor
        and None is not bill.max_minor
        and bill.min_minor > bill.max_minor
    ):
        yield "min_minor", "must not be above max_minor"
    if bill.expires_at.tzinfo is None:
        yield "expires_at", "must name its offset, like 2026-12-31T23:59:59+08:00"
    # A time near the end of the calendar has no UTC time, and cannot be stored.
    elif not 2000 <= bill.expires_at.year < 2200:
        yield "expires_at", "must be in the years 2000 to 2199"


def fault_of_list(bills: Sequence[BillerBill], currency: str) -> str | None:
    """Return why a biller's list of bills cannot be accepted, or None. The text has nothing of the bills' content."""
    if len(bills) > MOST_BILLS:
        return f"more than {MOST_BILLS} bills"
    if len({each.bill_number for each in bills}) < len(bills):
        return "a bill number stands there twice"
    fault = next((fault for each in bills for fault in faults_of(each, currency)), None)
    return f"{fault[0]} {fault[1]}" if fault else None

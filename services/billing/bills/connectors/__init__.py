"""Connectors: one per biller dialect, behind one protocol."""

from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    BillerBill,
    BillerDown,
    BillerRefused,
    BillerUnknown,
    Connector,
    DayFileError,
    DayFileLine,
    Found,
    NoSuchAccount,
    NotApplied,
    NothingOwed,
    Unapplied,
)
from services.billing.bills.connectors.registry import Bulkhead, Connectors, UnknownBillerError

__all__ = [
    "Application",
    "Applied",
    "BillerBill",
    "BillerDown",
    "BillerRefused",
    "BillerUnknown",
    "Bulkhead",
    "Connector",
    "Connectors",
    "DayFileError",
    "DayFileLine",
    "Found",
    "NoSuchAccount",
    "NotApplied",
    "NothingOwed",
    "Unapplied",
    "UnknownBillerError",
]

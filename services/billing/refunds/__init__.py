"""Refunds: accept -> unapply -> refund -> record."""

from services.billing.refunds.model import Reversal
from services.billing.refunds.refund import Refunds

__all__ = ["Refunds", "Reversal"]

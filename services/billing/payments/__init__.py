"""Payments: accept -> authorize -> apply -> capture -> record."""

from services.billing.payments.pay import Payments

__all__ = ["Payments"]

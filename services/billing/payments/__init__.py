"""Payments: accept -> authorize -> apply -> capture -> record; refunds, top-ups."""

from services.billing.payments.model import Instruction
from services.billing.payments.pay import Payments

__all__ = ["Instruction", "Payments"]

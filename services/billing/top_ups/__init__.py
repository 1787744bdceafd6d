"""Top-ups: accept -> charge -> record."""

from services.billing.top_ups.top_up import TopUps

__all__ = ["TopUps"]

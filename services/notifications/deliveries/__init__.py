"""Deliveries, each of one event to one recipient: planned when the event arrives, claimed, sent, recorded, listed."""

"""Deliveries, each of one event to one recipient: planned when the event comes, claimed, sent, recorded, followed."""

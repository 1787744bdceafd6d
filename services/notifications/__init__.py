"""Notifications: consumes billing's events and sends mail to payers and signed webhooks to channels.

events → plan (a row per event, medium and recipient) → send (claim, deliver outside any transaction, record) → events.
It shares the contract (`events`) and the machinery (`messaging`, `chassis`) with billing, and nothing else.
"""

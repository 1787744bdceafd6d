"""Notifications: consumes what billing publishes and tells people, by mail and by signed webhooks.

events → plan (a row per event, medium and recipient) → send (claim, deliver outside any transaction, record) → events.
Shares with billing the contract (`events`) and the machinery (`messaging`), and nothing else.
"""

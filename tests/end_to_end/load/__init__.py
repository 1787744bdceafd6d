"""Payments and lookups by the hundred, as wallet apps send them."""

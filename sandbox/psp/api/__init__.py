"""Stripe's API as callers see it: endpoints, parameters, errors, idempotency keys, and the fault that a call meets."""

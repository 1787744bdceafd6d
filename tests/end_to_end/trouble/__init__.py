"""Disruptions of a city, faults of its institutions, and the orders of a wallet meanwhile."""

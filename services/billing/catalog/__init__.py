"""The catalogue: divisions, billers, their services and where they are offered."""

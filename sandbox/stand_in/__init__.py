"""What the stand-ins for others (PSP, billers, mail box) have in common: they serve, remember, and fail on request."""

"""The common parts of the stand-ins (PSP, billers, mail box): they serve, remember, and fail on request."""

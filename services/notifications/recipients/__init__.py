"""Who is told, and where: channels and their tokens, payers' mail addresses, channels' webhook endpoints."""

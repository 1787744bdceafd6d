"""Recipients: channels and their tokens, payers' mail addresses, channels' webhook endpoints."""

"""The past of a soak: millions of bills and payments, and days of the outbox that are past its retention."""

"""What is there when a soak begins: years of bills and payments, and days of the outbox that are past its retention."""

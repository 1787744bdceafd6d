"""External calls: the parts that payments, refunds, top-ups and late results share."""

"""What payments, refunds, top-ups and late news have in common when somebody outside is asked."""

"""The soak: half of the load that the machine can carry, for half an hour, on a ledger of twenty million transfers."""

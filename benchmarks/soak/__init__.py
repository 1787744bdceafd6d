"""The soak: half of the load that the machine can bear, for half an hour, on a ledger of twenty million transfers."""

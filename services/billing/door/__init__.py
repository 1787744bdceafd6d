"""HTTP in: what a wallet asks for is promised here, and kept by the worker. And the PSP's webhooks."""

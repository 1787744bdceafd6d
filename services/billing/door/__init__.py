"""HTTP in: requests of wallets become promises here, which the worker carries out. And the PSP's webhooks."""

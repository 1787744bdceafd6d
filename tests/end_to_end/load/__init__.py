"""Load on a whole city: hundreds of payments and lookups, sent as wallet apps do."""

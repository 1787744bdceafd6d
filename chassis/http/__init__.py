"""HTTP, for the web processes of every service."""

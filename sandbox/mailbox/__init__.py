"""A mail box on your laptop: SMTP in, kept on disk, with a page and JSON to look into it, and faults on request."""

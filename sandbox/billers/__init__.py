"""Every biller of a country on a laptop: each speaks its own dialect over TCP, keeps a durable book, errs on request.

Run it with `python -m sandbox.billers --port 8430 --state DIR --data-dir DIR --secrets FILE`. `/<biller>/…` is a
biller in its dialect, `/sandbox/…` are the strings to pull, and billers that work by file have their folders in the
data directory. It shares no code with our connectors: what both sides agree on, they agree on over the wire.
"""

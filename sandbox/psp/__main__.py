"""`python -m sandbox.psp --port 8420 --state DIR`: run the PSP until it is told to stop.

The API key and the webhook secret come from METERHALL_PSP_API_KEY and METERHALL_PSP_WEBHOOK_SECRET.
Port 0 takes a free port; the first line on standard output tells the address.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

import uvicorn

from sandbox.psp.app import create_app

# Longer than the client keeps a silent connection, so that it is the client who closes it.
KEEPALIVE_SECONDS = 75
BACKLOG = 1_024


def main() -> None:
    """Read the command line, listen, serve."""
    asked = _arguments()
    secrets = {}
    for name in ("METERHALL_PSP_API_KEY", "METERHALL_PSP_WEBHOOK_SECRET"):
        secrets[name] = os.environ.get(name, "")
        if not secrets[name]:
            sys.exit(f"{name} must be set: the PSP and its callers share it")
    listener = socket.create_server((asked.host, asked.port), backlog=BACKLOG)
    url = asked.public_url or f"http://{asked.host}:{listener.getsockname()[1]}"
    app = create_app(
        asked.state,
        url,
        api_key=secrets["METERHALL_PSP_API_KEY"],
        webhook_secret=secrets["METERHALL_PSP_WEBHOOK_SECRET"],
        webhook_url=asked.webhook_url,
        seed=asked.seed,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEPALIVE_SECONDS,
        # A hanging answer is a fault that somebody asked for; nobody waits for it at the end.
        timeout_graceful_shutdown=2,
    )
    print(url, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sandbox.psp", description="A PSP on your laptop.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8420, help="0 takes a free one")
    parser.add_argument(
        "--state", type=Path, required=True, help="the directory that it remembers in"
    )
    parser.add_argument("--public-url", help="where payers reach its pages, when not at host:port")
    parser.add_argument("--webhook-url", help="where events are sent")
    parser.add_argument("--seed", type=int, help="the same seed draws the same ids")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""`python -m sandbox.billers --port 8430 --state DIR --data-dir DIR --secrets FILE`: run all billers.

The secrets file is the one that METERHALL_BILLER_SECRETS names: {"<biller>": "<secret>", …}. Port 0 takes a free port;
the first line on standard output tells the address.
"""

import argparse
import json
import socket
import sys
from pathlib import Path

import uvicorn

from sandbox.billers.app import create_app
from sandbox.billers.city import OtherCityError
from sandbox.billers.institutions import INSTITUTIONS

# Longer than the client keeps a silent connection, so that it is the client who closes it.
KEEPALIVE_SECONDS = 75
BACKLOG = 1_024


def main() -> None:
    """Read the command line, listen, serve."""
    asked = _arguments()
    secrets = json.loads(asked.secrets.read_text(encoding="utf-8"))
    called = [each.id for each in INSTITUTIONS if each.settled_by == "call"]
    missing = [biller for biller in called if not secrets.get(biller)]
    if missing:
        sys.exit(f"{asked.secrets} has no secret for {', '.join(missing)}")
    try:
        app = create_app(
            asked.state,
            asked.data_dir,
            secrets,
            seed=asked.seed,
            accounts_per_biller=asked.accounts_per_biller,
        )
    except OtherCityError as error:
        sys.exit(f"{error}; keep it, or take another --state")
    listener = socket.create_server((asked.host, asked.port), backlog=BACKLOG)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEPALIVE_SECONDS,
        # A hanging answer is a fault that somebody asked for; nobody waits for it at the end.
        timeout_graceful_shutdown=2,
    )
    print(f"http://{asked.host}:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sandbox.billers", description="All billers on your laptop."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8430, help="0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="the directory it remembers in")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="the folders of billers by file are in here"
    )
    parser.add_argument("--secrets", type=Path, required=True, help="a JSON file {biller: secret}")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same city")
    parser.add_argument("--accounts-per-biller", type=int, default=400)
    return parser.parse_args()


if __name__ == "__main__":
    main()

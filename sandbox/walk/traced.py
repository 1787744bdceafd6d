"""A process of Meterhall that reports which functions it has called. `python -m sandbox.walk.traced SOCKET MODULE`

It runs the module as `python -m MODULE` does, under a profile function in every thread. A client that connects to the
Unix socket gets, as JSON, the first calls since the last connection: `[[file, function, seconds], …]`.

A function is a `def` of one of our rooms, identified by its file and its qualified name. It counts once, at its first
call, or when it goes on after an `await` or a `yield`. Lambdas, comprehensions, generator expressions and the bodies
of classes and modules do not count, nor does generated code (the methods of a dataclass or NamedTuple, a page's
template), because it is in no file of ours.
"""

import inspect
import json
import runpy
import socket
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

# The rooms that a payment may pass; the sandbox and libraries are not followed.
ROOMS = ("chassis", "errands", "events", "messaging", "services")
ROOT = Path(__file__).resolve().parents[2]


class Call(NamedTuple):
    """The first call of a function, by the clock that all processes of a machine share."""

    file: str
    function: str
    seconds: float


class Recorder:
    """Records the calls since the last `take`. `hook` is the profile function."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = f"{root}/"
        # By id, because a code object is hashed by its content. The objects are stored, too, so that ids are not
        # reused.
        self._called: dict[int, tuple[CodeType, float]] = {}

    def hook(self, frame: FrameType, event: str, _: object) -> None:
        """See sys.setprofile."""
        if event == "call":
            code = frame.f_code
            if id(code) not in self._called:
                self._called[id(code)] = (code, time.monotonic())

    def take(self) -> list[Call]:
        """Return our functions that were called since the last time, in the order of their first calls."""
        called, self._called = self._called, {}
        calls = []
        for code, seconds in sorted(called.values(), key=lambda each: each[1]):
            file = code.co_filename.removeprefix(self._root)
            if file.split("/")[0] in ROOMS and file.endswith(".py") and _is_function(code):
                calls.append(Call(file, code.co_qualname, seconds))
        return calls


def _is_function(code: CodeType) -> bool:
    # The body of a class or a module has no fast locals; `<lambda>`, `<listcomp>` and the like are part of a function.
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


def take_from(path: Path) -> list[Call]:
    """Return the calls since the last time of the process that listens at this path."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return [Call(*each) for each in json.loads(answer)]


def _serve(recorder: Recorder, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(recorder.take()).encode())


def main() -> None:
    """Listen on the socket, and run the module."""
    path, module = sys.argv[1:3]
    recorder = Recorder()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_serve, args=(recorder, listener), daemon=True).start()
    threading.setprofile(recorder.hook)
    sys.setprofile(recorder.hook)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Run a process: a fast event loop, and a garbage collector that skips objects which stay for good."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# A batch of a thousand payments makes some 50,000 objects that reference counting frees. The default of 700 looks for
# cycles among them seventy times a batch, and now and then among everything that was ever imported.
_YOUNG_OBJECTS = 50_000


def run_process(work: Coroutine[Any, Any, T]) -> T:
    """Do what asyncio.run() does, for a process that works in batches for days. Call it after all imports."""
    tune_garbage_collector()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def tune_garbage_collector() -> None:
    """Collect seldom, and never the objects that exist now: modules and models stay for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # PyPy and Windows have none
        return None
    return uvloop.new_event_loop

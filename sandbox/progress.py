"""Progress for people: a bar per step that counts, a line per step that does not."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Steps:
    """The steps of one undertaking; each ends when the next begins."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, step: str) -> None:
        """A step that can't be counted has begun."""
        if step != self._said:
            self._said = step
            self._progress.console.print(f"· {step}")

    def advance(self, step: str, done: int, of: int) -> None:
        """A step that can be counted has come so far."""
        task = self._tasks.get(step)
        if task is None:
            task = self._tasks[step] = self._progress.add_task(step, total=of)
        self._progress.update(task, completed=done, total=of)

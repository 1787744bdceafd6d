"""The walk, from what each process called: in order, without what it calls anyway; as text and as JSON."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TextIO

from sandbox.walk.traced import Call

# A function by its file and its qualified name.
Function = tuple[str, str]


class Part(NamedTuple):
    """The calls of a process in one part of the walk, and those that it makes without a payment. `after`: the receipt
    is issued by then.
    """

    title: str
    process: str
    called: Sequence[Call]
    idle: Sequence[Call]
    after: bool = False


class Step(NamedTuple):
    """The functions of one part that the process called in no earlier part, in the order of their first calls."""

    title: str
    process: str
    functions: Sequence[Function]
    after: bool


class Walk:
    """The functions that one payment calls, part by part.

    `anyway` are the functions that these processes also call without a payment.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.steps: list[Step] = []
        known = {(part.process, each) for part in parts for each in _functions(part.idle)}
        for part in parts:
            new = [each for each in _functions(part.called) if (part.process, each) not in known]
            known.update((part.process, each) for each in new)
            if new:
                self.steps.append(Step(part.title, part.process, new, part.after))
        # A process that does nothing for the payment is left out.
        busy = {step.process for step in self.steps}
        called = {
            each for part in parts if part.process in busy for each in _functions(part.called)
        }
        self.anyway = sorted(called - set(self.functions))

    @property
    def functions(self) -> list[Function]:
        """All functions, each once."""
        return list(dict.fromkeys(each for step in self.steps for each in step.functions))

    @property
    def until_receipt(self) -> list[Function]:
        """The functions called until the receipt is issued and its events are in Kafka."""
        before = [each for step in self.steps if not step.after for each in step.functions]
        return list(dict.fromkeys(before))

    def as_json(self) -> dict[str, Any]:
        """Return the walk as JSON, for scripts and to compare two walks."""
        return {
            **_counts(self.functions),
            "until_receipt": _counts(self.until_receipt),
            "steps": [
                {"title": step.title, **_counts(step.functions), "functions": step.functions}
                for step in self.steps
            ],
            "anyway": self.anyway,
        }

    def write(self, out: TextIO) -> None:
        """Write the walk as text: each step with its files in order, and under each file its functions."""
        for step in self.steps:
            out.write(f"{step.title}: {_counted(step.functions)}\n")
            before = ""
            for file, function in step.functions:
                if file != before:
                    out.write(f"  {file}\n")
                    before = file
                out.write(f"      {function}\n")
            out.write("\n")
        out.write(
            f"One payment, from POST /v1/payments to its receipt: {_counted(self.functions)}.\n"
        )
        out.write(
            f"Until the receipt is issued and its events are in Kafka: {_counted(self.until_receipt)}.\n"
        )
        out.write(f"Not counted: {len(self.anyway)} functions that run without a payment, too.\n")


def _functions(calls: Iterable[Call]) -> list[Function]:
    ordered = sorted(calls, key=lambda each: each.seconds)
    return list(dict.fromkeys((each.file, each.function) for each in ordered))


def _counts(functions: Iterable[Function]) -> dict[str, int]:
    once = set(functions)
    public = [name for _, name in once if not name.split(".")[-1].startswith("_")]
    return {
        "files": len({file for file, _ in once}),
        "functions": len(once),
        "public": len(public),
    }


def _counted(functions: Iterable[Function]) -> str:
    counts = _counts(functions)
    return f"{counts['files']} files, {counts['functions']} functions ({counts['public']} public)"

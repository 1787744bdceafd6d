"""Faults on request: how they are asked for, which one comes next, and how often each fired.

Each part of the sandbox says what else its faults are about (an operation, a biller, a recipient) and what they do.
"""

import random
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json, to_json

from sandbox.store import DurableStore

# Longer than any caller waits; and a delay that every caller survives.
HANG_SECONDS = 30.0
DELAY_SECONDS = 2.0
# The call never answers, and has its effect after its caller has given up.
LATE = "late_effect"
# The longest time-out of our callers is ten seconds.
LATE_SECONDS = 12.0


@dataclass(slots=True, kw_only=True)
class BaseFault:
    """A fault that waits to fire: for the next `times` calls, or for each with a `probability`."""

    kind: str
    seconds: float
    times: int | None = None
    probability: float | None = None
    fired: int = 0


Fault = TypeVar("Fault", bound=BaseFault)


class BaseFaultAsked(BaseModel):
    """A fault for the next `times` calls, or for each with `probability`; once as a rule."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    times: int | None = Field(None, ge=1)
    probability: float | None = Field(None, gt=0, le=1)
    seconds: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_rule(self) -> "BaseFaultAsked":
        if self.times is not None and self.probability is not None:
            raise ValueError("times or probability, not both")
        return self

    def fields(self) -> dict[str, Any]:
        """The fault's, with what goes without saying."""
        said = self.model_dump()
        if self.times is None and self.probability is None:
            said["times"] = 1
        if self.seconds is None:
            said["seconds"] = default_seconds(self.kind)
        return said


class FaultList(Generic[Fault]):
    """All faults of one part; kept in its store, with the count of what fired. The same seed, the same chance."""

    def __init__(self, store: DurableStore, fault: type[Fault], seed: int | None = None) -> None:
        self._store = store
        self._random = random.Random(seed)
        kept = from_json(store.setting("faults", '{"faults": [], "fired": {}}'))
        self._faults = [fault(**each) for each in kept["faults"]]
        self._fired: dict[str, int] = kept["fired"]

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        self._faults.append(fault)
        self._save()

    def clear(self, meant: Callable[[Fault], bool] = lambda _: True) -> None:
        """Be well again, of all faults or of those that are meant. The counts stay."""
        self._faults = [each for each in self._faults if not meant(each)]
        self._save()

    def report(self) -> dict[str, Any]:
        """What is asked for and waits, and how often each fault fired, ever, by what `count` calls it."""
        return {"faults": [asdict(each) for each in self._faults], "fired": self._fired}

    def next(self, meant: Callable[[Fault], bool]) -> Fault | None:
        """The first of the faults that are meant whose turn it is; `count` it."""
        for fault in self._faults:
            if not meant(fault):
                continue
            if fault.probability is None or self._random.random() < fault.probability:
                fault.fired += 1
                if fault.fired == fault.times:
                    self._faults.remove(fault)
                return fault
        return None

    def count(self, name: str) -> None:
        """Keep that a fault fired."""
        self._fired[name] = self._fired.get(name, 0) + 1
        self._save()

    def _save(self) -> None:
        self._store.set_setting("faults", to_json(self.report()).decode())


def is_of(fault: BaseFault, asked: str, operation: str, moves: Container[str]) -> bool:
    """Whether a fault that was asked for at an operation ("*" is any) befalls this one. Only the operations in `moves`
    have an effect that can be late."""
    return asked in {operation, "*"} and (fault.kind != LATE or operation in moves)


def default_seconds(kind: str) -> float:
    """How long a fault takes when nobody says."""
    if kind == "delay":
        return DELAY_SECONDS
    if kind == LATE:
        return LATE_SECONDS
    return HANG_SECONDS if kind.startswith("timeout") else 0.0

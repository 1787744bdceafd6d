"""Faults on request: how they are requested, which one comes next, and how often each fired.

Each stand-in says what else its faults are about (an operation, a biller, a recipient) and what they do.
"""

import random
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json, to_json

from sandbox.stand_in.durable_store import DurableStore

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


@dataclass(slots=True, kw_only=True)
class OperationFault(BaseFault):
    """A fault at an operation; "*" is any."""

    operation: str

    def is_at(self, operation: str, moves: Container[str]) -> bool:
        """Return True when it applies to a call of this operation. Only the operations in `moves` have an effect that
        can be late.
        """
        return self.operation in {operation, "*"} and (self.kind != LATE or operation in moves)


FaultT = TypeVar("FaultT", bound=BaseFault)


class FaultRequest(BaseModel):
    """A fault for the next `times` calls, or for each with `probability`; once as a rule."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    times: int | None = Field(None, ge=1)
    probability: float | None = Field(None, gt=0, le=1)
    seconds: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.times is not None and self.probability is not None:
            raise ValueError("times or probability, not both")
        return self

    def fields(self) -> dict[str, Any]:
        """The fields of the fault, with defaults for what the request leaves out."""
        given = self.model_dump()
        if self.times is None and self.probability is None:
            given["times"] = 1
        if self.seconds is None:
            given["seconds"] = default_seconds(self.kind)
        return given


class OperationFaultRequest(FaultRequest):
    """A fault at an operation; "*" is any. Only the operations in `moves` have an effect that can be late."""

    moves: ClassVar[tuple[str, ...]] = ()
    operation: str

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.kind == LATE and self.operation not in {*self.moves, "*"}:
            raise ValueError(f"{self.operation} has no effect that could be late")
        return self


class FaultList(Generic[FaultT]):
    """All faults of one part; kept in its store, with the count of what fired. The same seed, the same chance."""

    def __init__(self, store: DurableStore, fault: type[FaultT], seed: int | None = None) -> None:
        self._store = store
        self._type = fault
        self._random = random.Random(seed)
        kept = from_json(store.setting("faults", '{"faults": [], "fired": {}}'))
        self._faults = [fault(**each) for each in kept["faults"]]
        self._fired: dict[str, int] = kept["fired"]

    def add(self, fault: FaultT) -> None:
        """Have this fault wait for its calls."""
        self._faults.append(fault)
        self._save()

    def add_requested(self, request: FaultRequest) -> None:
        """Have the requested fault wait for its calls."""
        self.add(self._type(**request.fields()))

    def clear(self, meant: Callable[[FaultT], bool] = lambda _: True) -> None:
        """Be well again, of all faults or of those that are meant. The counts stay."""
        self._faults = [each for each in self._faults if not meant(each)]
        self._save()

    def report(self) -> dict[str, Any]:
        """Return the pending faults, and how often each fault has fired, by the names that `count` gives them."""
        return {"faults": [asdict(each) for each in self._faults], "fired": self._fired}

    def next(self, meant: Callable[[FaultT], bool]) -> FaultT | None:
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


def default_seconds(kind: str) -> float:
    """Return the default duration of a fault."""
    if kind == "delay":
        return DELAY_SECONDS
    if kind == LATE:
        return LATE_SECONDS
    return HANG_SECONDS if kind.startswith("timeout") else 0.0

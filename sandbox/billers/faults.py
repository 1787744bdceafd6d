"""Faults on request: per biller and operation ("*" is any), for the next `times` calls or each with a `probability`."""

import json
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from sandbox.billers.desk import Reply
from sandbox.billers.store import Store

BEFORE = (
    "refuse",  # says no with a `code`, nothing happens
    "timeout_before",  # never answers, nothing happened
    "error_500_before",  # answers 500, nothing happened
    "reset_before",  # breaks the connection, nothing happened
    "down",  # answers 503 at once, nothing happens
)
AFTER = (
    "delay",  # answers late
    "timeout_after",  # never answers, but it happened
    "error_500_after",  # answers 500, but it happened
    "reset_after",  # it happened, then the connection breaks
    "truncate",  # it happened, the answer is cut short
    "garbage",  # it happened, the answer is no answer
    "oversize",  # it happened, the answer is two megabytes
    "wrong_echo",  # it happened, the answer names another serial, account and amount
)
KINDS = BEFORE + AFTER
# Longer than any caller waits; and a delay that every caller survives.
HANG_SECONDS = 30.0
DELAY_SECONDS = 2.0
GARBAGE = b'\xff\xfe{"status": <<OK>>,\x00\x81 status=OK&&sign'
OVERSIZE_BYTES = 2_097_152


@dataclass(slots=True)
class Fault:
    """A fault that waits to fire. `code` is a refusal's."""

    biller: str
    operation: str
    kind: str
    seconds: float
    code: str
    times: int | None = None
    probability: float | None = None
    fired: int = 0


class Faults:
    """All faults of all billers; kept in the store, with the count of what fired."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)
        kept = json.loads(store.setting("faults", '{"faults": [], "fired": {}}'))
        self._faults = [Fault(**one) for one in kept["faults"]]
        self._fired: dict[str, int] = kept["fired"]

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        self._faults.append(fault)
        self._save()

    def clear(self, biller: str | None) -> None:
        """This biller, or all of them, be well again. The counts stay."""
        self._faults = [one for one in self._faults if biller not in {None, one.biller}]
        self._save()

    def report(self) -> dict[str, Any]:
        """What is asked for, and how often each fault fired, ever, by "biller:operation:kind"."""
        return {"faults": [asdict(one) for one in self._faults], "fired": self._fired}

    def pick(self, biller: str, operation: str) -> Fault | None:
        """The fault that this call has to suffer."""
        for fault in self._faults:
            meant = fault.biller in {biller, "*"} and fault.operation in {operation, "*"}
            if not meant or fault.times == fault.fired:
                continue
            if fault.probability is None or self._random.random() < fault.probability:
                fault.fired += 1
                name = f"{biller}:{operation}:{fault.kind}"
                self._fired[name] = self._fired.get(name, 0) + 1
                self._save()
                return fault
        return None

    def _save(self) -> None:
        self._store.set_setting("faults", json.dumps(self.report()))


def spoiled(reply: Reply) -> Reply:
    """The same answer, given to somebody else."""
    return replace(
        reply,
        serial=f"{reply.serial}0",
        account_number=f"{reply.account_number}0",
        amount_minor=None if reply.amount_minor is None else reply.amount_minor + 1,
    )

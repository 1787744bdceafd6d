"""Faults on request, for the next so many mails, or the next so many to one recipient."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pydantic_core import from_json, to_json

from sandbox.mailbox.store import Store

Kind = Literal[
    "refuse_4xx",  # 450 to the recipient, nothing is kept
    "refuse_5xx",  # 550 to the recipient, nothing is kept
    "delay",  # takes its time over the last dot, and then keeps it
    "drop_before",  # the connection breaks, nothing is kept
    "drop_after",  # it is kept, and the connection breaks before we say so
]
KINDS: tuple[Kind, ...] = get_args(Kind)
DELAY_SECONDS = 2.0


@dataclass(slots=True)
class Fault:
    """A fault that waits to fire `times` more times, for any mail or for those to one recipient."""

    kind: Kind
    times: int
    seconds: float
    recipient: str | None = None


class Faults:
    """All faults of one mail box; kept in its store, with the count of what fired."""

    def __init__(self, store: Store) -> None:
        self._store = store
        kept = from_json(store.setting("faults", '{"faults": [], "fired": {}}'))
        self._faults = [Fault(**each) for each in kept["faults"]]
        self._fired: dict[str, int] = kept["fired"]

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        self._faults.append(fault)
        self._save()

    def clear(self) -> None:
        """Be well again. The counts stay."""
        self._faults.clear()
        self._save()

    def report(self) -> dict[str, Any]:
        """What is asked for, and how often each kind fired, ever."""
        return {"faults": [asdict(each) for each in self._faults], "fired": self._fired}

    def pick(self, recipient: str, *kinds: Kind) -> Fault | None:
        """The fault of one of these kinds that a mail to this recipient has to suffer now."""
        for fault in self._faults:
            if fault.kind in kinds and fault.recipient in {None, recipient}:
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
                self._fired[fault.kind] = self._fired.get(fault.kind, 0) + 1
                self._save()
                return fault
        return None

    def _save(self) -> None:
        self._store.set_setting("faults", to_json(self.report()).decode())

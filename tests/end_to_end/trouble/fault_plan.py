"""A plan with every fault of the sandbox at every call of ours, and the count of faults that have fired.

Faults of calls that move money are chosen by the means of payment of payments and top-ups. Faults of queries, and all
faults at billers, are added in advance and fire at the next matching call.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sandbox.billers.biller_faults import KINDS as BILLER_KINDS
from sandbox.billers.biller_list import BILLERS
from sandbox.local_city import LocalCity
from sandbox.psp.psp_faults import KINDS as PSP_KINDS
from sandbox.stand_in.fault_list import LATE
from tests.end_to_end import city_books

# Seconds of a fault. A hanging call outlasts the time-out (for the PSP the one in SETTINGS), and a late effect comes
# after the retry of its call.
PSP_SECONDS = {"delay": 1, "timeout_before": 4, "timeout_after": 4, LATE: 7}
BILLER_SECONDS = {"delay": 1, "timeout_before": 1, "timeout_after": 1, LATE: 8}
SETTINGS = {"METERHALL_PSP_TIMEOUT_SECONDS": "3", "METERHALL_PSP_LATE_EFFECT_SECONDS": "20"}
# Calls that move money, and queries for their outcome.
PSP_MOVES = ("authorize", "charge", "capture", "void", "refund")
PSP_QUERIES = ("retrieve", "list", "find_refund")
# One biller refuses every apply, so that holds are voided; another one refuses an unapply.
REFUSES_APPLY, REFUSES_UNAPPLY = "south-gas", "bj-water"
# The number of faults of each kind, by call at billers.
APPLIES, QUERIES, UNAPPLIES = 3, 2, 1

PlannedFault = dict[str, Any]


def method(operation: str, kind: str) -> str:
    """Return the means of payment that causes this fault."""
    seconds = PSP_SECONDS.get(kind)
    return f"pm_fault_{kind}_{operation}" + (f"_{seconds}s" if seconds else "")


def psp_faults() -> Iterator[PlannedFault]:
    """Return the faults of queries at the PSP."""
    for operation in PSP_QUERIES:
        for kind in PSP_KINDS:
            if kind != LATE:
                seconds = PSP_SECONDS.get(kind, 0)
                yield {"operation": operation, "kind": kind, "seconds": seconds}


def biller_faults() -> Iterator[PlannedFault]:
    """Return the faults at the billers, spread over those that are called."""
    # Of several faults that match a call the first one fires.
    yield {"biller": REFUSES_UNAPPLY, "operation": "unapply", "kind": "refuse"}
    yield {"biller": REFUSES_APPLY, "operation": "apply", "kind": "refuse", "probability": 1.0}
    called = [each.id for each in BILLERS if each.settled_by == "call"]
    called = [each for each in called if each not in {REFUSES_APPLY, REFUSES_UNAPPLY}]
    kinds = [kind for kind in BILLER_KINDS if kind != "refuse"]
    for number, kind in enumerate(kinds * APPLIES):
        yield _at(called[number % len(called)], "apply", kind)
    for kind in kinds:
        yield {**_at("*", "unapply", kind), "times": UNAPPLIES}
    for kind in BILLER_KINDS:
        if kind != LATE:
            yield {**_at("*", "query", kind), "times": QUERIES}


def _at(biller: str, operation: str, kind: str) -> PlannedFault:
    seconds = BILLER_SECONDS.get(kind, 0)
    return {"biller": biller, "operation": operation, "kind": kind, "seconds": seconds}


def planned() -> set[str]:
    """Return the faults that must fire, as `psp:operation:kind` and, at any biller, `biller:operation:kind`."""
    moves = {f"psp:{operation}:{kind}" for operation in PSP_MOVES for kind in PSP_KINDS}
    queries = {f"psp:{each['operation']}:{each['kind']}" for each in psp_faults()}
    billers = {f"biller:{each['operation']}:{each['kind']}" for each in biller_faults()}
    return moves | queries | billers


def install(city: LocalCity) -> None:
    """Add all faults of the plan to the institutions."""
    for part, faults in (("psp", psp_faults()), ("billers", biller_faults())):
        for fault in faults:
            city_books.control(city, "POST", part, "/sandbox/faults", fault)


def clear(city: LocalCity) -> None:
    """Remove all faults from the institutions."""
    city_books.control(city, "DELETE", "psp", "/sandbox/faults")
    city_books.control(city, "DELETE", "billers", "/sandbox/faults")


def fired(city: LocalCity) -> Counter[str]:
    """Count the faults that have fired, named as in `planned`."""
    counted: Counter[str] = Counter()
    for name, times in _report(city, "psp").items():
        counted[f"psp:{name}"] += times
    for name, times in _report(city, "billers").items():
        counted[f"biller:{name.split(':', 1)[1]}"] += times
    return counted


def _report(city: LocalCity, part: str) -> dict[str, int]:
    counts: dict[str, int] = city_books.fetch(f"{city.home.url(part)}/sandbox/faults")["fired"]
    return counts

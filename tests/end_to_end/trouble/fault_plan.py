"""Every fault of the sandbox at every call of ours: how each is brought about, and which have not fired yet.

Payments and top-ups bring the faults of the calls that move money with their means of payment; those of the calls
that ask for a state, and the billers', wait for the next call.
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

# Seconds that a fault takes. What hangs outlasts the time-out (of the PSP, as SETTINGS has it), and a late effect comes
# after the call has been repeated.
PSP_SECONDS = {"delay": 1, "timeout_before": 4, "timeout_after": 4, LATE: 7}
BILLER_SECONDS = {"delay": 1, "timeout_before": 1, "timeout_after": 1, LATE: 8}
SETTINGS = {"METERHALL_PSP_TIMEOUT_SECONDS": "3", "METERHALL_PSP_LATE_EFFECT_SECONDS": "20"}
# Calls that move money and calls that ask what has become of one.
PSP_MOVES = ("authorize", "charge", "capture", "void", "refund")
PSP_LOOKS = ("retrieve", "list", "find_refund")
# One biller refuses every bill, so that holds are voided; another one keeps a mark that it should take back.
REFUSES_APPLY, REFUSES_UNAPPLY = "south-gas", "bj-water"
# How often each kind befalls a call of billers.
APPLIES, QUERIES, UNAPPLIES = 3, 2, 1

PlannedFault = dict[str, Any]


def method(operation: str, kind: str) -> str:
    """The means of payment that brings this fault."""
    seconds = PSP_SECONDS.get(kind)
    return f"pm_fault_{kind}_{operation}" + (f"_{seconds}s" if seconds else "")


def psp_faults() -> Iterator[PlannedFault]:
    """Those that wait at the PSP for a call that asks."""
    for operation in PSP_LOOKS:
        for kind in PSP_KINDS:
            if kind != LATE:
                seconds = PSP_SECONDS.get(kind, 0)
                yield {"operation": operation, "kind": kind, "seconds": seconds}


def biller_faults() -> Iterator[PlannedFault]:
    """Those that wait at the billers, spread over those that are called."""
    # The first of the faults that fit a call is the one that fires.
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
    """What must have fired, as `operation:kind` at the PSP and `biller:operation:kind` at any biller."""
    moves = {f"psp:{operation}:{kind}" for operation in PSP_MOVES for kind in PSP_KINDS}
    looks = {f"psp:{each['operation']}:{each['kind']}" for each in psp_faults()}
    billers = {f"biller:{each['operation']}:{each['kind']}" for each in biller_faults()}
    return moves | looks | billers


def install(city: LocalCity) -> None:
    """Have the institutions err from now on."""
    for part, faults in (("psp", psp_faults()), ("billers", biller_faults())):
        for fault in faults:
            city_books.ask(city, "POST", part, "/sandbox/faults", fault)


def clear(city: LocalCity) -> None:
    """Have all institutions be well again."""
    city_books.ask(city, "DELETE", "psp", "/sandbox/faults")
    city_books.ask(city, "DELETE", "billers", "/sandbox/faults")


def fired(city: LocalCity) -> Counter[str]:
    """How often each fault fired, named as in `planned`."""
    counted: Counter[str] = Counter()
    for name, times in _report(city, "psp").items():
        counted[f"psp:{name}"] += times
    for name, times in _report(city, "billers").items():
        counted[f"biller:{name.split(':', 1)[1]}"] += times
    return counted


def _report(city: LocalCity, part: str) -> dict[str, int]:
    told: dict[str, int] = city_books.fetch(f"{city.home.url(part)}/sandbox/faults")["fired"]
    return told

"""PspFaults on request: for an operation by number or by chance, or for one payment by its method or metadata.

A payment asks for its own fault with the method `pm_fault_<kind>_<operation>[_<seconds>s]` or the metadata
`sandbox_fault=<kind>:<operation>[:<seconds>]`; it fires at the first such call for that payment, and never again.
"""

import re
from typing import Any

from sandbox.psp.api.errors import ApiError, declined, refused
from sandbox.psp.psp_store import Object, PspStore
from sandbox.stand_in.fault_list import LATE, FaultList, OperationFault, default_seconds

KINDS = (
    "delay",  # answers late
    "refuse",  # says no, nothing happens
    "timeout_before",  # never answers, nothing happened
    "timeout_after",  # never answers, but it happened
    "error_500_before",  # answers 500 now and for this key, nothing happened
    "error_500_after",  # answers 500 now and for this key, but it happened
    "reset_before",  # the connection breaks, nothing happened
    "reset_after",  # it happened, then the connection breaks
    "rate_limit",  # answers 429
    "truncate",  # it happened, the response is cut short
    "wrong_amount",  # it happened, the response has another amount
    LATE,  # never answers, and it happens after the caller has gone; its key is in use until then
)
OPERATIONS = (
    "authorize",
    "charge",
    "confirm",
    "capture",
    "void",
    "refund",
    "retrieve",
    "list",
    "find",
    "find_refund",
    "balance_transactions",
    "other",
)
# Those that move money: what they do can be done late.
MOVES = ("authorize", "charge", "capture", "void", "refund")
_METHOD = re.compile(
    rf"pm_fault_({'|'.join(KINDS)})_({'|'.join(OPERATIONS)})(?:_([0-9]+(?:\.[0-9]+)?)s)?"
)


class PspFaults(FaultList[OperationFault]):
    """All faults of one PSP, and those that payments ask for themselves."""

    def __init__(self, store: PspStore, seed: int | None) -> None:
        super().__init__(store, OperationFault, seed)

    def pick(self, operation: str, params: Object, target: str) -> OperationFault | None:
        """The fault that this call has to suffer. `target` is the intent's id, or what names the payment before."""
        fault = self._of_payment(operation, params, target) or self.next(
            lambda each: each.is_at(operation, MOVES)
        )
        if fault:
            self.count(f"{operation}:{fault.kind}")
        return fault

    def remember(self, params: Object, intent_id: str) -> None:
        """A payment that was just created may ask for a fault at a later call."""
        fault = _requested(params)
        if fault and fault.operation not in {"authorize", "charge"}:
            self._mark(intent_id, fault)

    def _of_payment(self, operation: str, params: Object, target: str) -> OperationFault | None:
        fault = _requested(params)
        if fault and fault.operation == operation:
            self._mark(target, fault)
        found = self._store.query(
            "SELECT kind, seconds FROM marks WHERE target = ? AND operation = ? AND fired = 0",
            target,
            operation,
        )
        if not found:
            return None
        self._store.execute(
            "UPDATE marks SET fired = 1 WHERE target = ? AND operation = ?", target, operation
        )
        kind, seconds = found[0]
        return OperationFault(operation=operation, kind=kind, seconds=seconds)

    def _mark(self, target: str, fault: OperationFault) -> None:
        self._store.execute(
            "INSERT OR IGNORE INTO marks (target, operation, kind, seconds) VALUES (?, ?, ?, ?)",
            target,
            fault.operation,
            fault.kind,
            fault.seconds,
        )


def refusal(operation: str) -> ApiError:
    """Return the error of a refused operation."""
    match operation:
        case "authorize" | "charge" | "confirm":
            return declined("Your card was declined.", "card_declined", "generic_decline")
        case "capture":
            return refused("The hold has expired.", "capture_charge_authorization_expired")
        case "refund":
            return refused("The charge is disputed.", "charge_disputed")
    return refused("The sandbox was asked to refuse this.", "sandbox_refused")


def spoiled(body: Any) -> Any:
    """The same answer with amounts that are one minor unit too high."""
    if isinstance(body, list):
        return [spoiled(one) for one in body]
    if not isinstance(body, dict):
        return body
    return {
        name: value + 1 if name.startswith("amount") and type(value) is int else spoiled(value)
        for name, value in body.items()
    }


def of_method(name: str) -> OperationFault | None:
    """The fault that a payment method asks for."""
    match = _METHOD.fullmatch(name)
    return _fault(match[1], match[2], match[3] or "") if match else None


def _requested(params: Object) -> OperationFault | None:
    method, metadata = params.get("payment_method"), params.get("metadata")
    if isinstance(method, str) and method.startswith("pm_fault_"):
        return of_method(method)
    if isinstance(metadata, dict) and "sandbox_fault" in metadata:
        kind, _, rest = str(metadata["sandbox_fault"]).partition(":")
        operation, _, seconds = rest.partition(":")
        return _fault(kind, operation, seconds)
    return None


def _fault(kind: str, operation: str, seconds: str) -> OperationFault | None:
    if kind not in KINDS or operation not in OPERATIONS:
        return None
    if kind == LATE and operation not in MOVES:
        return None
    try:
        given = float(seconds or default_seconds(kind))
    except ValueError:
        return None
    return OperationFault(operation=operation, kind=kind, seconds=given)

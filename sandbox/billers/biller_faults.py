"""Faults on request: per biller and operation ("*" is any), for the next `times` calls or each with a `probability`."""

from dataclasses import dataclass, replace

from sandbox.billers.biller_book import BillerReply
from sandbox.billers.biller_store import BillerStore
from sandbox.stand_in.fault_list import LATE, FaultList, OperationFault

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
    "wrong_echo",  # it happened, the answer names another serial, account, bill, amount and currency
)
# LATE never answers, and it happens after the caller has gone.
KINDS = (*BEFORE, *AFTER, LATE)
# What these do can be done late.
MOVES = ("apply", "unapply")
GARBAGE = b'\xff\xfe{"status": <<OK>>,\x00\x81 status=OK&&sign'
OVERSIZE_BYTES = 2_097_152


@dataclass(slots=True, kw_only=True)
class BillerFault(OperationFault):
    """A fault of a biller at an operation; "*" is any. `code` is a refusal's."""

    biller: str
    code: str


class BillerFaults(FaultList[BillerFault]):
    """All faults of all billers; counted as "biller:operation:kind"."""

    def __init__(self, store: BillerStore, seed: int) -> None:
        super().__init__(store, BillerFault, seed)

    def pick(self, biller: str, operation: str) -> BillerFault | None:
        """The fault that this call has to suffer."""
        fault = self.next(
            lambda each: each.biller in {biller, "*"} and each.is_at(operation, MOVES)
        )
        if fault:
            self.count(f"{biller}:{operation}:{fault.kind}")
        return fault


def spoiled(reply: BillerReply) -> BillerReply:
    """Return the same response as if it were about another account."""
    return replace(
        reply,
        serial=f"{reply.serial}0",
        account_number=f"{reply.account_number}0",
        bill_number=f"{reply.bill_number}0",
        currency="XXX",
        amount_minor=None if reply.amount_minor is None else reply.amount_minor + 1,
    )

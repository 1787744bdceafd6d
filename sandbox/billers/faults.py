"""Faults on request: per biller and operation ("*" is any), for the next `times` calls or each with a `probability`."""

from dataclasses import dataclass, replace

from sandbox.billers.desk import Reply
from sandbox.billers.store import Store
from sandbox.faults import LATE, BaseFault, FaultList, is_of

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
class Fault(BaseFault):
    """A fault of a biller at an operation. `code` is a refusal's."""

    biller: str
    operation: str
    code: str


class Faults(FaultList[Fault]):
    """All faults of all billers; counted as "biller:operation:kind"."""

    def __init__(self, store: Store, seed: int) -> None:
        super().__init__(store, Fault, seed)

    def clear_of(self, biller: str | None) -> None:
        """This biller, or all of them, be well again. The counts stay."""
        self.clear(lambda each: biller in {None, each.biller})

    def pick(self, biller: str, operation: str) -> Fault | None:
        """The fault that this call has to suffer."""
        fault = self.next(
            lambda each: (
                each.biller in {biller, "*"} and is_of(each, each.operation, operation, MOVES)
            )
        )
        if fault:
            self.count(f"{biller}:{operation}:{fault.kind}")
        return fault


def spoiled(reply: Reply) -> Reply:
    """The same answer, given to somebody else."""
    return replace(
        reply,
        serial=f"{reply.serial}0",
        account_number=f"{reply.account_number}0",
        bill_number=f"{reply.bill_number}0",
        currency="XXX",
        amount_minor=None if reply.amount_minor is None else reply.amount_minor + 1,
    )

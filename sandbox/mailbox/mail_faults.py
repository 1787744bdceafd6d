"""Faults on request, for a number of mails, or a number of mails to one recipient."""

from dataclasses import dataclass
from typing import Literal

from sandbox.mailbox.mail_store import MailStore
from sandbox.stand_in.fault_list import BaseFault, FaultList

Kind = Literal[
    "refuse_4xx",  # 450 to the recipient, nothing is kept
    "refuse_5xx",  # 550 to the recipient, nothing is kept
    "delay",  # takes its time over the last dot, and then keeps it
    "drop_before",  # the connection breaks, nothing is kept
    "drop_after",  # it is kept, and the connection breaks before we say so
]


@dataclass(slots=True, kw_only=True)
class MailFault(BaseFault):
    """A fault for any mail, or for those to one recipient."""

    recipient: str | None = None


class MailFaults(FaultList[MailFault]):
    """All faults of one mail box; counted by kind."""

    def __init__(self, store: MailStore) -> None:
        super().__init__(store, MailFault)

    def pick(self, recipient: str, *kinds: Kind) -> MailFault | None:
        """The fault of one of these kinds that a mail to this recipient has to suffer now."""
        fault = self.next(lambda each: each.kind in kinds and each.recipient in {None, recipient})
        if fault:
            self.count(fault.kind)
        return fault

"""How large a soak is, what everything in it is called, and what it takes of the disk.

Ids and amounts follow from numbers, so that the sender of commands needs no database: bill n is of household n modulo
the households, over 1,000 to 20,999. Bills 0 to `paid` were paid in the past, the others are paid while it runs.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

# The ids of the past are UUIDv7 one millisecond apart, from this one on; the kinds differ in the first digit of the
# random half, so that none is another's.
EPOCH_MS = 1_760_000_000_000
BILL, PAYMENT, TOP_UP, ACCOUNT = 0x8, 0x9, 0xA, 0xB

LOWEST_MINOR, AMOUNTS = 1_000, 20_000
# Of twenty transfers five paid a bill and fifteen topped a wallet up, and a household made all twenty: paid bills take
# more of the disk than top-ups.
TRANSFERS_PER_HOUSEHOLD = 20
PAID_SHARE = 0.25

GB = 1_000_000_000
RESERVE_BYTES = 6 * GB
PLANTED_DAYS = 3  # past the retention of the outbox, when it begins
PLANTED_EVENTS = 500_000  # at most, in each
SEGMENT_BYTES = 8 << 20
# So long Kafka keeps what nobody needs any more: two checkpoints, and its own look at old segments.
KEPT_IN_KAFKA_SECONDS = 150

# Measured bytes, with all indexes. The first three are of the past, the others are written while it runs.
_PAID_BYTES = 1_080  # bill, payment, receipt and transfer
_TOP_UP_BYTES = 440
_BILL_BYTES = 210
_HOUSEHOLD_BYTES = 450  # account at the biller, wallet
_KEPT_BYTES = 985
_OUTBOX_BYTES = 950
_KAFKA_BYTES = 1_600
_PLANTED_BYTES = 450
_AUDIT_BYTES = 140  # what the audit puts aside for each transfer while it joins and sorts


@dataclass(frozen=True, slots=True)
class Size:
    """`transfers` of the past; `rate` payments per second for so many `seconds`; `wal_bytes` is max_wal_size."""

    transfers: int
    rate: float
    seconds: float
    wal_bytes: int

    @property
    def households(self) -> int:
        return max(500, self.transfers // TRANSFERS_PER_HOUSEHOLD)

    @property
    def paid(self) -> int:
        return int(self.transfers * PAID_SHARE)

    @property
    def top_ups(self) -> int:
        return self.transfers - self.paid

    @property
    def past_days(self) -> int:
        """So many days the past took."""
        return min(90, max(1, self.transfers // 200_000))

    @property
    def due(self) -> int:
        """The bills that are paid while it runs."""
        return int(self.rate * self.seconds)

    @property
    def bills(self) -> int:
        return self.paid + self.due

    @property
    def top_up_minor(self) -> int:
        """So much that every household can pay all of its bills."""
        most = math.ceil(self.bills / self.households) * (LOWEST_MINOR + AMOUNTS)
        return math.ceil(most / max(1, self.top_ups // self.households))

    @property
    def planted_events(self) -> int:
        """In each day that is past the retention."""
        return min(PLANTED_EVENTS, max(1_000, self.transfers // 40))

    def disk(self) -> dict[str, int]:
        """What it takes of the disk at most, in bytes, by what it is for."""
        return {
            "past": self.paid * _PAID_BYTES
            + self.top_ups * _TOP_UP_BYTES
            + self.due * _BILL_BYTES
            + self.households * _HOUSEHOLD_BYTES,
            "kept": self.due * _KEPT_BYTES,
            "outbox": self.due * _OUTBOX_BYTES,
            "planted": self.planted_events * _PLANTED_BYTES,
            "kafka": int(min(self.seconds, KEPT_IN_KAFKA_SECONDS) * self.rate * _KAFKA_BYTES),
            "write_ahead_log": int(self.wal_bytes * 1.1),
            "audit": (self.transfers + self.due) * _AUDIT_BYTES,
        }

    def as_json(self) -> dict[str, Any]:
        """For the result."""
        derived = ("households", "paid", "top_ups", "past_days", "due", "planted_events")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


class DiskError(Exception):
    """The disk is too small for this soak; the text says by how much."""


def check_disk(size: Size, free_bytes: int) -> None:
    """Raises DiskError when what is free doesn't suffice."""
    parts = size.disk()
    need = sum(parts.values()) + RESERVE_BYTES
    if free_bytes < need:
        listed = ", ".join(f"{name} {bytes / GB:.1f}" for name, bytes in parts.items())
        raise DiskError(
            f"{need / GB:.1f} GB of disk are needed and {free_bytes / GB:.1f} GB are free"
            f" ({listed}, reserve {RESERVE_BYTES / GB:.0f}): fewer --transfers, --minutes or a lower --rate"
        )


def id_of(kind: int, n: int) -> UUID:
    """The id of bill, payment, … number n."""
    return UUID(int=((EPOCH_MS + n) << 80) | (0x7000 << 64) | (kind << 60) | n)


def sql_id(kind: int, n: str) -> str:
    """The same in SQL; `n` is an expression."""
    return (
        f"CAST(lpad(to_hex({EPOCH_MS} + {n}), 12, '0') || '7000{kind:x}' || lpad(to_hex({n}), 15, '0')"
        " AS uuid)"
    )


def amount_minor(n: int) -> int:
    """What bill n is over."""
    return LOWEST_MINOR + n % AMOUNTS


def payer(household: int) -> str:
    """The channel's name for a household."""
    return f"household-{household}"

"""The size of a soak, the ids and amounts of its bills, and the disk space that it needs.

Ids and amounts are computed from numbers, so that the sender of commands needs no database: bill n belongs to household
n modulo the number of households, and its amount is 1,000 to 20,999 fen. Bills 0 to `paid` were paid in the past, the
others are paid during the run.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

# The ids of the past are UUIDv7 one millisecond apart, from this time on. Kinds differ in the first digit of the random
# half, so that ids of two kinds never collide.
EPOCH_MS = 1_760_000_000_000
BILL, PAYMENT, TOP_UP, ACCOUNT = 0x8, 0x9, 0xA, 0xB

LOWEST_MINOR, AMOUNTS = 1_000, 20_000
# Each household made twenty transfers: five paid a bill and fifteen topped up the wallet, because paid bills need more
# disk space than top-ups.
TRANSFERS_PER_HOUSEHOLD = 20
PAID_SHARE = 0.25

GB = 1_000_000_000
RESERVE_BYTES = 6 * GB
PLANTED_DAYS = 3  # days past the retention of the outbox at the start
PLANTED_EVENTS = 500_000  # at most, in each
SEGMENT_BYTES = 8 << 20
# Kafka keeps records for this long after they were counted: two checkpoints, and the interval of its own cleanup.
KEPT_IN_KAFKA_SECONDS = 150

# Measured bytes, with all indexes: first of the rows of the past, then of those that the run writes.
_PAID_BYTES = 1_080  # bill, payment, receipt and transfer
_TOP_UP_BYTES = 440
_BILL_BYTES = 210
_HOUSEHOLD_BYTES = 450  # account at the biller, wallet
_KEPT_BYTES = 985
_OUTBOX_BYTES = 950
_KAFKA_BYTES = 1_600
_PLANTED_BYTES = 450
_AUDIT_BYTES = 140  # temporary files of the audit's joins and sorts, per transfer


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a soak: `transfers` of the past, `rate` payments per second for `seconds`, max_wal_size in bytes."""

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
        """The days over which the past is spread."""
        return min(90, max(1, self.transfers // 200_000))

    @property
    def due(self) -> int:
        """The number of bills that the run pays."""
        return int(self.rate * self.seconds)

    @property
    def bills(self) -> int:
        return self.paid + self.due

    @property
    def top_up_minor(self) -> int:
        """The amount of each top-up: every household can pay all of its bills."""
        most = math.ceil(self.bills / self.households) * (LOWEST_MINOR + AMOUNTS)
        return math.ceil(most / max(1, self.top_ups // self.households))

    @property
    def planted_events(self) -> int:
        """The events in each planted day."""
        return min(PLANTED_EVENTS, max(1_000, self.transfers // 40))

    def disk(self) -> dict[str, int]:
        """Return the largest disk space needed, in bytes, by purpose."""
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
        """Return the sizes for the result, derived ones included."""
        derived = ("households", "paid", "top_ups", "past_days", "due", "planted_events")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


class DiskError(Exception):
    """The disk is too small for this soak; the message has the figures."""


def check_disk(size: Size, free_bytes: int) -> None:
    """Raise DiskError if the free space is not sufficient."""
    parts = size.disk()
    need = sum(parts.values()) + RESERVE_BYTES
    if free_bytes < need:
        listed = ", ".join(f"{name} {bytes / GB:.1f}" for name, bytes in parts.items())
        raise DiskError(
            f"{need / GB:.1f} GB of disk are needed and {free_bytes / GB:.1f} GB are free"
            f" ({listed}, reserve {RESERVE_BYTES / GB:.0f}): give fewer --transfers, fewer --minutes or a lower --rate"
        )


def id_of(kind: int, n: int) -> UUID:
    """Return the id of bill, payment, top-up or account number n."""
    return UUID(int=((EPOCH_MS + n) << 80) | (0x7000 << 64) | (kind << 60) | n)


def sql_id(kind: int, n: str) -> str:
    """Return an SQL expression of that id; `n` is an SQL expression."""
    return (
        f"CAST(lpad(to_hex({EPOCH_MS} + {n}), 12, '0') || '7000{kind:x}' || lpad(to_hex({n}), 15, '0')"
        " AS uuid)"
    )


def amount_minor(n: int) -> int:
    """Return the amount of bill n."""
    return LOWEST_MINOR + n % AMOUNTS


def payer(household: int) -> str:
    """The channel's name for a household."""
    return f"household-{household}"

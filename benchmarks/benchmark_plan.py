"""The sizes of a full run and of a quick one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """Sizes of one run. `payments` is the backlog of the drain; a database holds `bills` that can be paid."""

    repeats: int
    side_repeats: int  # of measurements that are not on the path of a payment
    payments: int
    history: int  # payments made before, so that no index is empty and the planner knows the tables
    posting_seconds: float
    paced_seconds: float
    door_seconds: float
    relay_events: int
    consumer_commands: int
    lookups: int
    dead_seconds: float
    psp_payments: int

    @property
    def bills(self) -> int:
        return self.payments + self.history

    @property
    def payers(self) -> int:
        """Each payer has one bill of the past and one to pay now, so no payer pays twice during the measurement."""
        return self.payments


FULL = BenchmarkPlan(
    repeats=5,
    side_repeats=2,
    payments=200_000,
    history=100_000,
    posting_seconds=1.5,
    paced_seconds=5.0,
    door_seconds=5.0,
    relay_events=200_000,
    consumer_commands=200_000,
    lookups=3_000,
    dead_seconds=5.0,
    psp_payments=1_500,
)
QUICK = BenchmarkPlan(
    repeats=1,
    side_repeats=1,
    payments=60_000,
    history=10_000,
    posting_seconds=1.0,
    paced_seconds=4.0,
    door_seconds=2.0,
    relay_events=30_000,
    consumer_commands=30_000,
    lookups=500,
    dead_seconds=4.0,
    psp_payments=200,
)

"""The checks at the end: every command was paid once, the books balance, and the events agree with the books."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import integrity
from benchmarks.soak.sizes import Size

_EVENTS = text("""
    SELECT count(*) FILTER (WHERE topic IN (4, 5)) AS outbox_rows_of_the_run,
        count(*) FILTER (WHERE topic > 100) AS dead_letters
    FROM outbox WHERE created_at >= CAST(:since AS timestamptz)
""")


@dataclass(frozen=True, slots=True)
class CountedOutside:
    """Counts from outside the database: commands sent, events in Kafka, restarts of the relay."""

    sent: int
    receipts: int
    payment_events: int
    relay_restarts: int


@dataclass(slots=True)
class Proof:
    """The outcome of the checks: figures for the result, and complaints, one for each failed check."""

    facts: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def expect(self, counts: Mapping[str, int], expected: Mapping[str, int]) -> None:
        """Record these counts as facts, and a complaint for each that differs from the expected one."""
        self.facts |= {name: counts[name] for name in expected}
        self.complaints += integrity.differences(counts, expected)


async def prove(engine: AsyncEngine, size: Size, outside: CountedOutside, since: datetime) -> Proof:
    """Check database and events after all processes have stopped. Outbox rows after `since` belong to the run."""
    proof = Proof()
    counts = await integrity.count(engine)
    paid = size.paid + outside.sent
    proof.facts["payments_sent"] = outside.sent
    expected = {
        "payments_succeeded": paid,
        "payments_in_other_states": 0,
        "receipts": paid,
        "pay_bill_transfers": paid,
        # The template of the city has one household with a top-up.
        "top_up_transfers": size.top_ups + 1,
    }
    proof.expect(counts, expected)
    proof.facts["transfers"] = counts["transfers"]
    began = time.perf_counter()
    balances = await integrity.add_up(engine)
    proof.facts["trial_balance_seconds"] = round(time.perf_counter() - began, 1)
    proof.expect(balances, integrity.balanced(balances))
    await _check_events(engine, proof, outside, since)
    began = time.perf_counter()
    violations = await integrity.violations(engine)
    proof.facts["audit_seconds"] = round(time.perf_counter() - began, 1)
    proof.facts["violations"] = len(violations)
    proof.complaints += violations[: integrity.SHOWN]
    return proof


async def _check_events(
    engine: AsyncEngine, proof: Proof, outside: CountedOutside, since: datetime
) -> None:
    async with engine.connect() as connection:
        counts = (await connection.execute(_EVENTS, {"since": since})).one()._asdict()
    written = 2 * outside.sent
    proof.expect(counts, {"outbox_rows_of_the_run": written, "dead_letters": 0})
    in_kafka = outside.receipts + outside.payment_events
    repeated = in_kafka - written
    proof.facts["relay_restarts"] = outside.relay_restarts
    # A relay that restarts may publish a wave again: delivery is at least once.
    if repeated > 0 and outside.relay_restarts:
        proof.facts["events_in_kafka"] = in_kafka
        proof.facts["events_sent_again"] = repeated
    else:
        proof.expect({"events_in_kafka": in_kafka}, {"events_in_kafka": written})

"""The proof at the end: what was sent was paid, once; the books agree; and what was told agrees with the books."""

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
    """Counted outside of the database: commands sent, events in Kafka, and how often the relay started over."""

    sent: int
    receipts: int
    payment_events: int
    relay_restarts: int


@dataclass(slots=True)
class Proof:
    """`facts` for the result, `complaints` for everybody."""

    facts: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def expect(self, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
        """Remember the numbers that are expected, and complain of each that is another."""
        self.facts |= {name: found[name] for name in expected}
        self.complaints += integrity.differences(found, expected)


async def prove(engine: AsyncEngine, size: Size, outside: CountedOutside, since: datetime) -> Proof:
    """Prove it, when everything has come to rest. What the outbox got after `since` is of the run."""
    proof = Proof()
    found = await integrity.count(engine)
    paid = size.paid + outside.sent
    proof.facts["payments_sent"] = outside.sent
    expected = {
        "payments_succeeded": paid,
        "payments_in_other_states": 0,
        "receipts": paid,
        "pay_bill_transfers": paid,
        # The city was made with one household of its own.
        "top_up_transfers": size.top_ups + 1,
    }
    proof.expect(found, expected)
    proof.facts["transfers"] = found["transfers"]
    began = time.perf_counter()
    balances = await integrity.add_up(engine)
    proof.facts["trial_balance_seconds"] = round(time.perf_counter() - began, 1)
    proof.expect(balances, integrity.balanced(balances))
    await _events(engine, proof, outside, since)
    began = time.perf_counter()
    violations = await integrity.violations(engine)
    proof.facts["audit_seconds"] = round(time.perf_counter() - began, 1)
    proof.facts["violations"] = len(violations)
    proof.complaints += violations[: integrity.SHOWN]
    return proof


async def _events(
    engine: AsyncEngine, proof: Proof, outside: CountedOutside, since: datetime
) -> None:
    async with engine.connect() as connection:
        found = (await connection.execute(_EVENTS, {"since": since})).one()._asdict()
    written = 2 * outside.sent
    proof.expect(found, {"outbox_rows_of_the_run": written, "dead_letters": 0})
    in_kafka = outside.receipts + outside.payment_events
    again = in_kafka - written
    proof.facts["relay_restarts"] = outside.relay_restarts
    # A relay that starts over may send a wave again: at least once is what it promises.
    if again > 0 and outside.relay_restarts:
        proof.facts["events_in_kafka"] = in_kafka
        proof.facts["events_sent_again"] = again
    else:
        proof.expect({"events_in_kafka": in_kafka}, {"events_in_kafka": written})

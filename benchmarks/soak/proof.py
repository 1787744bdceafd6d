"""The proof at the end: what was sent was paid, once; the books agree; and what was told agrees with the books."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.soak.bare import Connection
from benchmarks.soak.sizes import Size
from benchmarks.stage import City
from services.billing.audit import audit_database

_COUNTS = """
    SELECT (SELECT count(*) FROM payments WHERE state = 'succeeded') AS payments,
        (SELECT count(*) FROM payments WHERE state <> 'succeeded') AS other_payments,
        (SELECT count(*) FROM receipts) AS receipts,
        (SELECT count(*) FROM transfers WHERE kind = 'pay_bill') AS paid,
        (SELECT count(*) FROM transfers WHERE kind = 'top_up') AS topped_up,
        (SELECT count(*) FROM transfers) AS transfers
"""
_TRIAL_BALANCE = """
    SELECT (SELECT CAST(coalesce(sum(balance_minor), 0) AS bigint) FROM ledger_accounts) AS all_balances,
        (SELECT CAST(coalesce(sum(balance_minor), 0) AS bigint) FROM ledger_accounts WHERE address LIKE 'biller:%')
            AS owed_to_billers,
        (SELECT CAST(coalesce(sum(amount_minor), 0) AS bigint) FROM transfers WHERE kind = 'pay_bill') AS paid_minor
"""
_EVENTS = """
    SELECT count(*) FILTER (WHERE topic IN (4, 5)) AS events, count(*) FILTER (WHERE topic > 100) AS dead_letters
    FROM outbox WHERE created_at >= CAST($1 AS timestamptz)
"""


@dataclass(frozen=True, slots=True)
class Told:
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

    def expect(self, what: str, found: int, expected: int) -> None:
        """Remember the number, and complain when it is another than expected."""
        self.facts[what] = found
        if found != expected:
            self.complaints.append(f"{found:,} {what.replace('_', ' ')} instead of {expected:,}")


async def prove(city: City, owner: Connection, size: Size, told: Told, since: datetime) -> Proof:
    """Prove it, when everything has come to rest. What the outbox got after `since` is of the run."""
    proof = Proof()
    found = await owner.fetchrow(_COUNTS)
    assert found is not None
    paid = size.paid + told.sent
    proof.facts["payments_sent"] = told.sent
    proof.expect("payments_succeeded", found["payments"], paid)
    proof.expect("payments_in_other_states", found["other_payments"], 0)
    proof.expect("receipts", found["receipts"], paid)
    proof.expect("pay_bill_transfers", found["paid"], paid)
    # The city was made with one household of its own.
    proof.expect("top_up_transfers", found["topped_up"], size.top_ups + 1)
    proof.facts["transfers"] = found["transfers"]
    await _balance(owner, proof)
    await _events(owner, proof, told, since)
    began = time.perf_counter()
    violations = await audit_database(city.engine)
    proof.facts["audit_seconds"] = round(time.perf_counter() - began, 1)
    proof.facts["violations"] = len(violations)
    proof.complaints += [f"{each.invariant}: {each.subject} {each.what}" for each in violations[:5]]
    return proof


async def _balance(owner: Connection, proof: Proof) -> None:
    began = time.perf_counter()
    found = await owner.fetchrow(_TRIAL_BALANCE)
    assert found is not None
    proof.facts["trial_balance_seconds"] = round(time.perf_counter() - began, 1)
    proof.expect("all_balances_minor", found["all_balances"], 0)
    proof.expect("owed_to_billers_minor", found["owed_to_billers"], found["paid_minor"])


async def _events(owner: Connection, proof: Proof, told: Told, since: datetime) -> None:
    found = await owner.fetchrow(_EVENTS, since)
    assert found is not None
    proof.expect("outbox_rows_of_the_run", found["events"], 2 * told.sent)
    proof.expect("dead_letters", found["dead_letters"], 0)
    in_kafka = told.receipts + told.payment_events
    again = in_kafka - 2 * told.sent
    proof.facts["relay_restarts"] = told.relay_restarts
    # A relay that starts over may send a wave again: at least once is what it promises.
    if again > 0 and told.relay_restarts:
        proof.facts["events_in_kafka"] = in_kafka
        proof.facts["events_sent_again"] = again
    else:
        proof.expect("events_in_kafka", in_kafka, 2 * told.sent)

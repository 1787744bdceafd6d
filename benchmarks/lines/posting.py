"""posting_<batch>_<workers>: accept() alone, without Kafka, in one or two processes with one batch per transaction.

Payments go from wallets to billers that settle by file, so this transaction finishes them: it writes transfer, receipt
and events.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks import integrity
from benchmarks.machine.crew import Job, Shift, crew, measure_shifts
from benchmarks.measured_city import Due, command
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from errands import Booking, Institutions
from events.payments import PayBill
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept

WORKERS = (1, 2)
# By batch size: more payments than a worker can make in a second. This number of bills is reserved for it per second,
# and their commands are built before the clock starts.
MOST_PER_SECOND = {1: 1_000, 50: 8_000, 500: 14_000, 1_000: 16_000}


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Run every batch size with every number of processes, one after the other in the same city."""
    shapes = [(batch, workers) for batch in MOST_PER_SECOND for workers in WORKERS]
    seconds = repeat.plan.posting_seconds
    samples = {}
    async with repeat.stage.city() as city:
        due = await city.due(repeat.plan)
        wanted = [MOST_PER_SECOND[batch] * workers * seconds for batch, workers in shapes]
        enough = min(1.0, len(due) / sum(wanted))
        paid = repeat.plan.history
        with crew(city.billing_url, max(WORKERS), Job(_instructions, _accept)) as members:
            for (batch, workers), bills in zip(shapes, wanted, strict=True):
                reserved = [due.pop() for _ in range(int(bills * enough))]
                shifts = [Shift(reserved[n::workers], batch, seconds) for n in range(workers)]
                sample, payments = await measure_shifts(
                    repeat.stage, members[:workers], shifts, "payments/s"
                )
                paid += payments
                complaints = await integrity.counts(city.engine, paid)
                samples[f"posting_{batch}_{workers}"] = sample.with_complaints(complaints)
        violations = await integrity.audit(city.engine)
    return {id: sample.with_complaints(violations) for id, sample in samples.items()}


def _instructions(due: Sequence[Due]) -> list[Instruction[PayBill]]:
    return [Instruction(command(bill)) for bill in due]


async def _accept(
    connection: AsyncConnection, instructions: Sequence[Instruction[PayBill]]
) -> None:
    await accept(connection, instructions, Booking(Institutions()))

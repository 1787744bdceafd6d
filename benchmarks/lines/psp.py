"""psp_http: bills of HTTP billers, paid through the PSP: authorize, apply, capture, each a call to another process.

The sandbox's PSP and billers run on the same cores and use half of the measured time: hence the cost by process.
`cpu_us_per_call` is the worker's, for each of the three calls of a payment.
"""

from uuid import UUID

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.lines.drain import EVENTS
from benchmarks.machine.running import WORKERS, meter, relay, running, wait_for_group, workers
from benchmarks.measured_city import CHANNEL, MeasuredCity
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from benchmarks.stand_ins import CALLED, StandIns, look_up, open_accounts, stand_ins
from benchmarks.wallets import Wallets, encode
from benchmarks.witness import Witness
from events.ids import uuid7
from events.payments import PayBill, PspFunding
from events.topics import LOOKUP_EVENTS, LOOKUP_GROUP, PAYMENT_GROUP

CALLS = 3
_BILLS = text("""
    SELECT b.id, b.amount_minor FROM bills b JOIN accounts a ON a.id = b.account_id
    WHERE a.biller_id = ANY(CAST(:billers AS text[])) ORDER BY b.id LIMIT :payments
""")
_RATE = text("""
    SELECT count(*) AS succeeded, extract(epoch FROM max(finished_at) - min(created_at)) AS seconds
    FROM payments WHERE funding = 'psp' AND state = 'succeeded'
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Look up the planned number of bills, and pay them."""
    stage, payments = repeat.stage, repeat.plan.psp_payments
    async with stage.city() as city, stand_ins(stage, city) as institutions:
        employed, publisher = workers(stage, city, institutions.environment), relay(stage, city)
        async with (
            Wallets(stage.kafka.bootstrap) as wallets,
            running([publisher, *employed]),
        ):
            await wait_for_group(stage, LOOKUP_GROUP, WORKERS)
            await wait_for_group(stage, PAYMENT_GROUP, WORKERS)
            async with Witness(stage.kafka.bootstrap, [LOOKUP_EVENTS]) as lookups:
                accounts = await open_accounts(
                    city, institutions, CALLED, payments // len(CALLED) + 1
                )
                await wallets.send(encode([look_up(each) for each in accounts], stage.signing_key))
                await lookups.read(len(accounts))
            commands = [_command(id, amount) for id, amount in await _bills(city, payments)]
            async with Witness(stage.kafka.bootstrap, EVENTS) as witness:
                used = meter(
                    stage,
                    worker=employed,
                    relay=[publisher],
                    psp=[institutions.psp],
                    billers=[institutions.billers],
                )
                await used.start()
                await wallets.send(encode(commands, stage.signing_key))
                # PaymentAccepted, PaymentSucceeded, ReceiptIssued.
                await witness.read(3 * len(commands))
                cost = await used.cost(len(commands))
        rate, complaints = await _check(repeat, city, institutions, len(commands))
        complaints += await integrity.events(city.engine, [t.code for t in EVENTS], witness.ids)
    facts = {**cost, "cpu_us_per_call": cost["cpu_us_worker"] / CALLS}
    return {"psp_http": Sample(rate, "payments/s", facts, complaints)}


async def _check(
    repeat: Repeat, city: MeasuredCity, institutions: StandIns, payments: int
) -> tuple[float, list[str]]:
    async with city.engine.connect() as connection:
        row = (await connection.execute(_RATE)).one()
    complaints = await integrity.books(city.engine, repeat.plan.history + payments)
    if len(applied := institutions.book()) != payments:
        complaints.append(f"the billers have {len(applied)} of {payments} payments in their books")
    return row.succeeded / float(row.seconds), complaints


async def _bills(city: MeasuredCity, payments: int) -> list[tuple[UUID, int]]:
    async with city.engine.connect() as connection:
        rows = await connection.execute(_BILLS, {"billers": CALLED, "payments": payments})
        return [(row.id, row.amount_minor) for row in rows]


def _command(bill_id: UUID, amount_minor: int) -> PayBill:
    return PayBill(
        payment_id=uuid7(),
        channel=CHANNEL,
        payer="payer-1",
        bill_id=bill_id,
        amount_minor=amount_minor,
        currency="CNY",
        funding=PspFunding(payment_method="pm_card_visa"),
    )

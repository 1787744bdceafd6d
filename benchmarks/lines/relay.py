"""relay: the rate of the shipped relay alone, from one large commit into the outbox until Kafka has the last event."""

import time

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import meter, relay, running
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from benchmarks.witness import Witness
from events.ids import uuid7
from events.payments import PaymentSucceeded
from events.topics import PAYMENT_EVENTS

# A payload of a typical size.
_PAYLOAD = PaymentSucceeded(
    payment_id=uuid7(),
    channel="bench-wallet",
    payer="payer-12345",
    bill_id=uuid7(),
    biller_id="biller-123",
    amount_minor=12_345,
    currency="CNY",
    receipt_number="202611237K2M9QXAB0CD4TFW",
).model_dump_json()
_FILL = text("""
    INSERT INTO outbox (event_id, topic, key, sequence, type, payload)
    SELECT uuidv7(), :topic, CAST(uuidv7() AS text), 1, 'PaymentSucceeded.v1', CAST(:payload AS bytea)
    FROM generate_series(1, :events)
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Publish the planned number of events."""
    events = repeat.plan.relay_events
    async with repeat.stage.city() as city:
        publisher = relay(repeat.stage, city)
        async with (
            Witness(repeat.stage.kafka.bootstrap, [PAYMENT_EVENTS]) as witness,
            running([publisher]),
        ):
            async with city.engine.begin() as connection:
                await connection.execute(
                    _FILL,
                    {"topic": PAYMENT_EVENTS.code, "payload": _PAYLOAD.encode(), "events": events},
                )
                used = meter(repeat.stage, relay=[publisher])
                await used.start()
            began = time.time()
            await witness.wait(events, lambda n: repeat.advance("relay: events", n, events))
            cost = await used.cost(events)
            await witness.read(events)
        complaints = await integrity.events(city.engine, [PAYMENT_EVENTS.code], witness.ids)
    return {"relay": Sample(events / (witness.last_at - began), "events/s", cost, complaints)}

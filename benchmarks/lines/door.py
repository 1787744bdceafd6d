"""door_http: payments that the HTTP door promises, by wallet apps that keep their connections open.

One shipped web process; each request is a POST with an idempotency key of its own, answered after its transaction.
"""

import asyncio
import json
import time
from collections.abc import Iterator

import aiohttp
from sqlalchemy import text

from benchmarks.city import CHANNEL, Due, bills_due
from benchmarks.direct import connect_directly
from benchmarks.lines.paced import percentile
from benchmarks.results import Sample
from benchmarks.run import Run
from benchmarks.running import meter, running
from benchmarks.stage import City
from events.ids import uuid7
from sandbox.process import Process
from services.billing.channels import issue_key

CONNECTIONS = 32
_COUNTS = text("""
    SELECT (SELECT count(*) FROM payment_requests) AS promises, (SELECT count(*) FROM outbox) AS commands,
        (SELECT count(*) FROM idempotency_keys) AS keys
""")


async def measure(run: Run) -> dict[str, Sample]:
    """Ask for a while, by so many connections at once."""
    async with run.stage.city() as city:
        connection = await connect_directly(city.owner_url)
        due = iter(await bills_due(connection, run.plan))
        await connection.close()
        async with city.engine.begin() as opened:
            key = await issue_key(opened, CHANNEL)
        web = run.stage.process(
            "web", "services.billing.web", {"METERHALL_DATABASE_URL": city.billing_url}
        )
        async with running([web]):
            took, elapsed, cost = await _ask(run, web, key, due)
        complaints = await _complaints(city, len(took))
    facts = {**cost, "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}
    return {"door_http": Sample(len(took) / elapsed, "requests/s", facts, complaints)}


async def _ask(
    run: Run, web: Process, key: str, due: Iterator[Due]
) -> tuple[list[float], float, dict[str, float]]:
    """Milliseconds of each request that was accepted, the seconds of all of them, and their cost."""
    url = web.ready_url.replace("/readyz", "/v1/payments")
    took: list[float] = []
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
    ) as http:
        used = meter(run.stage, web=[web])
        await used.start()
        began = time.perf_counter()
        until = began + run.plan.door_seconds

        async def wallet() -> None:
            while time.perf_counter() < until:
                started = time.perf_counter()
                async with http.post(
                    url, data=_body(next(due)), headers={"Idempotency-Key": str(uuid7())}
                ) as answer:
                    said = await answer.read()
                    if answer.status != 202:
                        raise AssertionError(f"{answer.status} {said.decode()}")
                took.append((time.perf_counter() - started) * 1000)

        await asyncio.gather(*(wallet() for _ in range(CONNECTIONS)))
        elapsed = time.perf_counter() - began
        return took, elapsed, await used.cost(len(took))


def _body(due: Due) -> bytes:
    return json.dumps(
        {
            "bill_id": str(due.bill_id),
            "payer": due.payer,
            "amount_minor": due.amount_minor,
            "currency": "CNY",
            "funding": {"kind": "wallet"},
        }
    ).encode()


async def _complaints(city: City, accepted: int) -> list[str]:
    async with city.engine.connect() as connection:
        found = (await connection.execute(_COUNTS)).one()
    return [
        f"{count} {name} instead of {accepted}"
        for name, count in found._asdict().items()
        if count != accepted
    ]

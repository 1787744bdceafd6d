"""One biller of ten accepts connections and never answers: payments and lookups at other billers are not slower.

A third of all payments is for that biller, a third for nine healthy ones, a third for billers that work by file. When
the biller answers again, the payments that waited for it end in the order in which they were accepted.
METERHALL_BLACK_HOLE_SECONDS is the length of its outage, METERHALL_BLACK_HOLE_RATE the number of payments per second.
"""

import os
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sandbox.demo.wallet_app import WalletApp
from sandbox.home import Home
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.load.paced_load import (
    ACCOUNTS,
    DARK,
    DARK_SECONDS,
    RATE,
    WARM_UP_SECONDS,
    PacedLoad,
    Times,
    make_load,
    send,
)
from tests.end_to_end.load.traffic import ended, published

# The 95th percentile may be slower by this factor, plus the noise of a shared machine.
MOST_TIMES = 1.5
NOISE_SECONDS = float(os.environ.get("METERHALL_BLACK_HOLE_NOISE_SECONDS", "0.15"))
# All waiting payments have ended this long after the biller answers again.
SETTLE_SECONDS = 120.0 + 2 * DARK_SECONDS
# The catalogue gives every biller 32 places in each process, and worker and timer both claim. Payments that have
# a place are called concurrently, so they may overtake each other.
PLACES = 2 * 32
OVERTAKEN_SHARE = 0.05


@pytest.fixture
def dark_city(tmp_path: Path) -> Iterator[LocalCity]:
    """A city for this test alone, with as many accounts as it needs."""
    with Home(tmp_path) as home, LocalCity(home, seed=3, accounts_per_biller=ACCOUNTS) as started:
        yield started


@pytest.fixture
async def dark_wallet(dark_city: LocalCity) -> AsyncIterator[WalletApp]:
    """The wallet app of that city's channel."""
    async with WalletApp(dark_city.environment, dark_city.home.secrets, CHANNEL) as app:
        yield app


@pytest.mark.timeout(3_600)
@pytest.mark.alone
async def test_a_biller_that_hangs_slows_down_no_other_biller(
    dark_city: LocalCity, dark_wallet: WalletApp
) -> None:
    city = dark_city
    print(
        f"{RATE:.0f} payments a second, a third of them for {DARK}, away for {DARK_SECONDS:.0f} s"
    )
    load = await make_load(city, dark_wallet)
    times = await send(city, load)
    left_open = await ended(city, load.payment_ids, SETTLE_SECONDS)
    await published(city)
    failures = [f"{len(left_open)} payments are still open"] if left_open else []
    failures += _slower(load, times, _ended_at(city))
    failures += await _overtaken(city, load, times)
    failures += _wrong_applies(city, load)
    failures += await _expired_but_not_failed(city, load, times)
    failures += await city_books.disagreements(city)
    assert not failures, "\n".join(failures)


def _ended_at(city: LocalCity) -> dict[str, float]:
    """Return the times at which payments succeeded and lookups were answered, by id."""
    payments = city_books.events(city, "billing.payment.events.v1")
    lookups = city_books.events(city, "billing.bill-lookup.events.v1")
    answers = {"PaymentSucceeded", "BillsFound", "NothingOwed"}
    ended_at: dict[str, float] = {}
    for key, name, at in [*payments, *lookups]:
        if name in answers:
            ended_at.setdefault(key, at)
    return ended_at


def _slower(load: PacedLoad, times: Times, ended_at: dict[str, float]) -> list[str]:
    """Return the failures: payments or lookups at healthy billers that were slower during the outage than before."""
    failures = []
    for name, ids in load.healthy.items():
        before: list[float] = []
        during: list[float] = []
        for id in ids:
            due = times.due[id]
            if due >= times.began + WARM_UP_SECONDS:
                waited = during if due >= times.dark else before
                waited.append(ended_at.get(id, inf) - due)
        was, now = _percentile_95(before), _percentile_95(during)
        print(f"{name}: p95 {was:.3f} s before, {now:.3f} s during the outage")
        if now > MOST_TIMES * was + NOISE_SECONDS:
            failures.append(f"{name}: p95 was {was:.3f} s, and {now:.3f} s during the outage")
    return failures


async def _overtaken(city: LocalCity, load: PacedLoad, times: Times) -> list[str]:
    """Return a failure if too many waiting payments were overtaken by more than have a place at the same time."""
    rows = await city_books.query(city, "SELECT id, created_at FROM payments")
    accepted = {row["id"].hex.upper(): row["created_at"] for row in rows}
    waited = {
        each.payment_id.hex.upper()
        for each in load.paid["dark"]
        if times.due[each.key] >= times.dark
    }
    before: list[datetime] = []
    overtaken = 0
    for line in _applies(city):
        if line["serial"] in waited:
            at = accepted[line["serial"]]
            overtaken += len(before) - bisect_right(before, at) > PLACES
            insort(before, at)
    print(f"{overtaken} of {len(before)} payments that waited were overtaken by more than {PLACES}")
    if overtaken > OVERTAKEN_SHARE * len(before):
        return [f"{overtaken} of {len(before)} payments were overtaken by more than {PLACES}"]
    return []


def _wrong_applies(city: LocalCity, load: PacedLoad) -> list[str]:
    """Return the failures in the dark biller's book: bills applied twice, or after they had expired."""
    lines = _applies(city)
    failures = [f"{serial} was applied {n} times" for serial, n in _counted(lines) if n > 1]
    for line in lines:
        expires_at = load.expires_at[UUID(line["serial"])]
        if datetime.fromisoformat(line["at"]) >= expires_at:
            failures.append(f"{line['serial']} was applied at {line['at']}, after {expires_at}")
    return failures


async def _expired_but_not_failed(city: LocalCity, load: PacedLoad, times: Times) -> list[str]:
    """Return the failures: bills that expired during the outage, and whose payment is not voided."""
    known = await city_books.payments(city)
    expired = [id for id, at in load.expires_at.items() if at.timestamp() < times.back]
    assert expired, "the bills that were to expire did not"
    states = {id: known[id].state for id in expired}
    return [
        f"{id} is {state}, its bill expired" for id, state in states.items() if state != "voided"
    ]


def _counted(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return list(Counter(line["serial"] for line in lines).items())


def _applies(city: LocalCity) -> list[dict[str, Any]]:
    book = city_books.fetch(f"{city.home.url('billers')}/sandbox/book?biller={DARK}")
    return [line for line in book if line["kind"] == "apply"]


def _percentile_95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]

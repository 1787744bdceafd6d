"""One sweep of the PSP's list answers everybody who looks for a charge at the same time, and nobody is forgotten."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from prometheus_client import REGISTRY

from services.billing.psp import Charge, Intent, Psp, Unknown, sweep
from services.billing.psp.sweep import NEAR_SECONDS, SLACK_SECONDS, Sought, near
from tests.services.billing.psp.conftest import Till
from tests.support.factories import a_payment
from tests.support.psp import SandboxPsp

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@dataclass
class Lister:
    """A PSP that only lists: `page_size` intents at a time, newest first. It answers 500 to the requests whose numbers
    are in `broken`, and nobody while `hold` is not set."""

    url: str = ""
    page_size: int = 2
    broken: set[int] = field(default_factory=set)
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[dict[str, str]] = field(default_factory=list)
    _intents: list[dict[str, object]] = field(default_factory=list)

    def create(self, at: datetime = NOON) -> Charge:
        """A charge that was made then."""
        charge = a_charge()
        self._intents.append(
            {
                "id": f"pi_{len(self._intents)}",
                "object": "payment_intent",
                "status": "succeeded",
                "amount": 8850,
                "amount_received": 8850,
                "currency": "cny",
                "created": int(at.timestamp()),
                "metadata": {"charge_id": str(charge.subject.id), "kind": "payment"},
            }
        )
        return charge

    @property
    def sweeps(self) -> list[tuple[int, int]]:
        """The span of each list that was begun."""
        return [
            (int(each["created[gte]"]), int(each["created[lte]"]))
            for each in self.requests
            if "starting_after" not in each
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            number, query = (
                len(self.requests),
                dict(parse_qsl(urlsplit(head.split()[1]).query.decode())),
            )
            self.requests.append(query)
            page = self._page(query)
            self.asked.set()
            if self.hold:
                await self.hold.wait()
            status = 500 if number in self.broken else 200
            body = json.dumps(page if status == 200 else {"error": {"type": "api_error"}})
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n".encode())
            writer.write(f"Connection: close\r\n\r\n{body}".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _page(self, query: dict[str, str]) -> dict[str, object]:
        first, last = int(query["created[gte]"]), int(query["created[lte]"])
        of_span = [one for one in self._intents if first <= int(str(one["created"])) <= last]
        of_span.sort(key=lambda one: -int(str(one["created"])))
        ids = [one["id"] for one in of_span]
        start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
        end = start + self.page_size
        return {"object": "list", "data": of_span[start:end], "has_more": end < len(of_span)}


@pytest.fixture
async def lister() -> AsyncIterator[Lister]:
    made = Lister()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def looking(lister: Lister) -> AsyncIterator[Psp]:
    made = Psp(lister.url, "sk_test_x", timeout_seconds=5.0)
    yield made
    await made.aclose()


def a_charge() -> Charge:
    return Charge(a_payment(), 8850, "CNY", "pm_card_visa")


def lists() -> float:
    """Return the number of pages that this process has requested."""
    counts = (
        REGISTRY.get_sample_value("psp_request_seconds_count", {"op": "find", "outcome": outcome})
        for outcome in ("ok", "ambiguous", "declined")
    )
    return sum(count or 0 for count in counts)


async def test_two_hundred_at_a_time_cost_what_one_costs(
    till: Till, client: Psp, psp: SandboxPsp
) -> None:
    began = datetime.now(UTC)
    made = [till.charge() for _ in range(120)]
    await asyncio.gather(*(client.charge(charge) for charge in made))
    span = (began, datetime.now(UTC))
    before = lists()
    assert isinstance(await client.find(made[0], *span), Intent)
    alone = lists() - before
    assert alone >= 2
    absent = [till.charge() for _ in range(80)]
    found = await asyncio.gather(*(client.find(charge, *span) for charge in made + absent))
    assert lists() - before == 2 * alone
    for charge, intent in zip(made, found, strict=False):
        assert isinstance(intent, Intent)
        assert intent.subject == charge.subject
    assert found[120:] == [None] * 80


async def test_trouble_in_the_middle_is_everybodys_and_the_next_sweep_works(
    lister: Lister, looking: Psp
) -> None:
    made = [lister.create() for _ in range(7)]
    lister.broken = {2}
    first = await asyncio.gather(*(looking.find(charge, NOON, NOON) for charge in made))
    assert [type(each) for each in first] == [Unknown] * 7
    assert len(lister.requests) == 3
    again = await asyncio.gather(*(looking.find(charge, NOON, NOON) for charge in made))
    assert [type(each) for each in again] == [Intent] * 7
    assert len(lister.requests) == 3 + 4


async def test_who_comes_during_a_sweep_is_answered_from_the_next(
    lister: Lister, looking: Psp
) -> None:
    early = a_charge()
    lister.hold = asyncio.Event()
    first = asyncio.create_task(looking.find(early, NOON, NOON))
    async with asyncio.timeout(10):
        await lister.asked.wait()
        made = [lister.create() for _ in range(5)]
        later = [asyncio.create_task(looking.find(charge, NOON, NOON)) for charge in made]
        await asyncio.sleep(2 * sweep.GATHER_SECONDS)
        lister.hold.set()
        assert await first is None
        # They were created after the first sweep's list, which would have proved them absent.
        assert [type(each) for each in await asyncio.gather(*later)] == [Intent] * 5
    assert len(lister.sweeps) == 2


async def test_a_sweep_that_hangs_does_not_hold_up_those_who_come_later(
    lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "USUAL_SECONDS", 0.1)
    looking = Psp(lister.url, "sk_test_x")
    lister.hold = asyncio.Event()
    hanging = asyncio.create_task(looking.find(a_charge(), NOON, NOON))
    async with asyncio.timeout(10):
        await lister.asked.wait()
        hold, lister.hold = lister.hold, None
        assert isinstance(await looking.find(lister.create(), NOON, NOON), Intent)
        assert not hanging.done()
        hold.set()
        assert await hanging is None
    await looking.aclose()


async def test_spans_that_are_far_apart_are_listed_apart(lister: Lister, looking: Psp) -> None:
    old = NOON - timedelta(days=3)
    minutes = [NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]
    charges = [lister.create(at) for at in (old, *minutes)]
    between = lister.create(NOON - timedelta(days=1))
    spans = [(at, at + timedelta(seconds=90)) for at in (old, *minutes)]
    found = await asyncio.gather(
        *(looking.find(charge, *span) for charge, span in zip(charges, spans, strict=True)),
        looking.find(between, *spans[0]),
    )
    assert [type(each) for each in found] == [Intent] * 4 + [type(None)]
    slack = timedelta(seconds=SLACK_SECONDS)
    assert lister.sweeps == [
        tuple(int(at.timestamp()) for at in (first - slack, last + slack))
        for first, last in (spans[0], (NOON, spans[-1][1]))
    ]


async def test_trouble_with_one_span_is_not_anothers(lister: Lister, looking: Psp) -> None:
    old = NOON - timedelta(days=3)
    charges = {at: lister.create(at) for at in (old, NOON)}
    lister.broken = {0}
    found = await asyncio.gather(*(looking.find(charges[at], at, at) for at in (old, NOON)))
    assert Counter(type(each) for each in found) == {Unknown: 1, Intent: 1}


async def test_clocks_may_differ_by_a_minute(lister: Lister, looking: Psp) -> None:
    for seconds, kind in ((-60, Intent), (60, Intent), (-61, type(None)), (61, type(None))):
        charge = lister.create(NOON + timedelta(seconds=seconds))
        assert isinstance(await looking.find(charge, NOON, NOON), kind)


async def test_a_caller_that_gives_up_takes_nobody_along(lister: Lister, looking: Psp) -> None:
    lister.hold = asyncio.Event()
    made = [lister.create() for _ in range(3)]
    calls = [asyncio.create_task(looking.find(charge, NOON, NOON)) for charge in made]
    async with asyncio.timeout(10):
        await lister.asked.wait()
        calls[0].cancel()
        lister.hold.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError, Intent, Intent]


async def test_whoever_waits_when_the_client_is_closed_hears_of_it(
    lister: Lister, looking: Psp
) -> None:
    lister.hold = asyncio.Event()
    under_way = asyncio.create_task(looking.find(a_charge(), NOON, NOON))
    async with asyncio.timeout(10):
        await lister.asked.wait()
        waiting = asyncio.create_task(looking.find(a_charge(), NOON, NOON))
        await asyncio.sleep(0)
        await looking.aclose()
        for each in await asyncio.gather(under_way, waiting):
            assert isinstance(each, Unknown)
            assert each.why.startswith("cut_short")
    lister.hold.set()


async def test_bounds_need_a_time_zone(looking: Psp) -> None:
    with pytest.raises(ValueError, match="time zone"):
        await looking.find(a_charge(), NOON.replace(tzinfo=None), NOON)


def test_near_spans_are_one_group() -> None:
    payment = a_payment()
    sought = [
        Sought(payment, since, until)
        for since, until in ((5_000, 5_010), (0, 1_000), (10, 20), (1_000 + NEAR_SECONDS, 1_100))
    ]
    assert [[one.since for one in group] for group in near(sought)] == [
        [0, 10, 1_000 + NEAR_SECONDS],
        [5_000],
    ]
    assert near([]) == []

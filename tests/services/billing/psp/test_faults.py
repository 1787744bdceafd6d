"""Every fault of the PSP at every operation: what the client makes of it, what the same call makes of it a second
time, and how often the money moved in the PSP's own book."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from services.billing.psp import (
    Authorized,
    Captured,
    Declined,
    Intent,
    Psp,
    Refunded,
    Refused,
    Unknown,
    Voided,
)
from tests.services.billing.psp.conftest import Till
from tests.support.factories import a_payment, a_refund
from tests.support.psp import Clock, SandboxPsp

Call = Callable[[], Awaitable[object]]
GONE = ["timeout_before", "timeout_after", "reset_before", "reset_after", "truncate"]
KEPT = ["error_500_before", "error_500_after"]
MOVES = ["authorize", "charge", "capture", "void", "refund"]
DONE = {
    "authorize": Authorized,
    "charge": Captured,
    "capture": Captured,
    "void": Voided,
    "refund": Refunded,
}


class Move:
    """One operation that moves money, ready to be called again and again."""

    def __init__(self, till: Till, psp: SandboxPsp) -> None:
        self.till = till
        self._psp = psp
        self.charge = till.charge()
        self.payment = self.charge.subject
        self.intent_id = ""
        self.refund = a_refund()

    async def ready(self, operation: str) -> Call:
        client = self.till.client
        if operation in {"authorize", "charge"}:
            charge = self.till.charge()
            self.charge, self.payment = charge, charge.subject
            return lambda: getattr(client, operation)(charge)
        if operation == "refund":
            self.payment, self.intent_id = await self.till.taken()
            return lambda: client.refund(self.refund, self.intent_id, 850, "CNY")
        self.payment, self.intent_id = await self.till.held()
        if operation == "capture":
            return lambda: client.capture(self.intent_id, self.payment, 8850, "CNY")
        return lambda: client.void(self.intent_id, self.payment, "CNY")

    def moved(self, operation: str) -> int:
        """Return how often the PSP did it, by its own book."""
        book = self._psp.book(self.payment)
        if operation == "void":
            return sum(hold["status"] == "released" for hold in book["holds"])
        kind = {"authorize": "holds", "refund": "refunds"}.get(operation, "captures")
        return len(book[kind])


@pytest.fixture
def move(till: Till, psp: SandboxPsp) -> Move:
    return Move(till, psp)


async def all_struck(
    till: Till, psp: SandboxPsp, kind: str, times: int = 1
) -> list[tuple[str, Move, Call, object]]:
    """Every operation with its first outcome. They are called together, for each waits: for an answer that never comes,
    or until it may try again."""
    moves = [Move(till, psp) for _ in MOVES]
    calls = [await move.ready(operation) for move, operation in zip(moves, MOVES, strict=True)]
    for operation in MOVES:
        psp.add_fault(operation, kind, times=times)
    outcomes = await asyncio.gather(*(call() for call in calls))
    psp.clear_faults()
    return list(zip(MOVES, moves, calls, outcomes, strict=True))


@pytest.mark.parametrize("kind", GONE)
async def test_no_answer_is_unknown_and_the_same_call_moves_money_once(
    till: Till, psp: SandboxPsp, kind: str
) -> None:
    for operation, move, call, outcome in await all_struck(till, psp, kind):
        assert isinstance(outcome, Unknown)
        assert move.moved(operation) == (0 if kind.endswith("before") else 1)
        assert isinstance(await call(), DONE[operation])
        assert isinstance(await call(), DONE[operation])
        assert move.moved(operation) == 1


@pytest.mark.parametrize("operation", [one for one in MOVES if one != "void"])
async def test_a_wrong_amount_is_not_believed(move: Move, psp: SandboxPsp, operation: str) -> None:
    call = await move.ready(operation)
    psp.add_fault(operation, "wrong_amount")
    outcome = await call()
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("wrong_amount")
    assert isinstance(await call(), DONE[operation])
    assert move.moved(operation) == 1


@pytest.mark.parametrize("operation", MOVES)
async def test_a_late_answer_in_time_is_an_answer(
    move: Move, psp: SandboxPsp, operation: str
) -> None:
    call = await move.ready(operation)
    psp.add_fault(operation, "delay", seconds=0.1)
    assert isinstance(await call(), DONE[operation])
    assert move.moved(operation) == 1


async def test_a_limit_is_waited_out_when_it_is_short(till: Till, psp: SandboxPsp) -> None:
    for operation, move, _, outcome in await all_struck(till, psp, "rate_limit"):
        assert isinstance(outcome, DONE[operation])
        assert move.moved(operation) == 1
    for operation, move, call, outcome in await all_struck(till, psp, "rate_limit", times=3):
        assert isinstance(outcome, Unknown)
        assert move.moved(operation) == 0
        assert isinstance(await call(), DONE[operation])
        assert move.moved(operation) == 1


@pytest.mark.parametrize("operation", MOVES)
async def test_a_refusal_is_an_answer_and_stays_one(
    move: Move, psp: SandboxPsp, operation: str
) -> None:
    call = await move.ready(operation)
    psp.add_fault(operation, "refuse")
    refused = Declined if operation in {"authorize", "charge"} else Refused
    assert isinstance(await call(), refused)
    assert isinstance(await call(), refused)
    assert move.moved(operation) == 0


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("operation", ["authorize", "charge", "refund"])
async def test_a_kept_error_stays_unknown_until_we_look(
    move: Move, psp: SandboxPsp, operation: str, kind: str
) -> None:
    call = await move.ready(operation)
    psp.add_fault(operation, kind)
    first, again = await call(), await call()
    assert isinstance(first, Unknown)
    assert isinstance(again, Unknown)
    # The PSP says itself that it only repeats itself: the call is over.
    assert (first.over, again.over) == (False, True)
    moved = 0 if kind == "error_500_before" else 1
    assert move.moved(operation) == moved
    if operation == "refund":
        found = await move.till.client.find_refund(move.refund, move.intent_id, 850)
        assert isinstance(found, Refunded if moved else type(None))
    else:
        sought = await move.till.find(move.charge)
        assert isinstance(sought, Intent if moved else type(None))
        if isinstance(sought, Intent):
            assert isinstance(sought.outcome_for(move.payment, 8850, "CNY"), DONE[operation])


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("operation", ["capture", "void"])
async def test_a_kept_error_does_not_stand_in_the_way_of_what_is_safe_to_repeat(
    move: Move, psp: SandboxPsp, clock: Clock, operation: str, kind: str
) -> None:
    call = await move.ready(operation)
    psp.add_fault(operation, kind)
    assert isinstance(await call(), Unknown)
    assert isinstance(await call(), Unknown)
    clock.now += 60
    assert isinstance(await call(), DONE[operation])
    assert move.moved(operation) == 1


# A broken connection is not among them: a question that is safe to repeat is repeated by the connection pool itself.
@pytest.mark.parametrize("kind", ["timeout_after", "truncate", "error_500_before", "refuse"])
async def test_a_question_without_an_answer_is_unknown(
    till: Till, client: Psp, psp: SandboxPsp, kind: str
) -> None:
    _, intent_id = await till.taken()
    now = datetime.now(UTC)
    for operation in ("retrieve", "find_refund", "balance_transactions"):
        psp.add_fault(operation, kind)
    outcomes = await asyncio.gather(
        client.retrieve(intent_id),
        client.find_refund(a_refund(), intent_id),
        client.balance_transactions(now - timedelta(hours=1), now + timedelta(hours=1)),
    )
    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
    psp.add_fault("*", kind)
    assert isinstance(await till.find(till.charges[-1]), Unknown)


async def test_lines_that_do_not_add_up_are_not_believed(
    till: Till, client: Psp, psp: SandboxPsp
) -> None:
    await till.taken()
    now = datetime.now(UTC)
    psp.add_fault("balance_transactions", "wrong_amount")
    lines = await client.balance_transactions(now - timedelta(hours=1), now + timedelta(hours=1))
    assert isinstance(lines, Unknown)


async def test_a_wrong_amount_in_a_state_is_not_believed(
    till: Till, client: Psp, psp: SandboxPsp
) -> None:
    charge_id, intent_id = await till.taken()
    psp.add_fault("retrieve", "wrong_amount")
    response = await client.retrieve(intent_id)
    assert isinstance(response, Intent)
    assert isinstance(response.outcome_for(charge_id, 8850, "CNY"), Unknown)


async def test_a_late_effect_is_found_and_not_made_twice(
    till: Till, client: Psp, psp: SandboxPsp
) -> None:
    charge = till.charge()
    psp.add_fault("charge", "delay", seconds=3)
    assert isinstance(await client.charge(charge), Unknown)
    in_flight = await client.charge(charge)
    assert isinstance(in_flight, Unknown)
    assert in_flight.why.startswith("status: 409")
    until = time.monotonic() + 60
    while not isinstance(await client.charge(charge), Captured):
        assert time.monotonic() < until
    assert len(psp.book(charge.subject)["captures"]) == 1


async def test_a_payment_can_ask_for_its_own_fault(
    till: Till, client: Psp, psp: SandboxPsp
) -> None:
    by_method = till.charge("pm_fault_reset_after_capture")
    healthy = till.charge()
    for charge, first in ((by_method, Unknown), (healthy, Captured)):
        held = await client.authorize(charge)
        assert isinstance(held, Authorized)
        assert isinstance(await client.capture(held.intent_id, charge.subject, 8850, "CNY"), first)
        assert isinstance(
            await client.capture(held.intent_id, charge.subject, 8850, "CNY"), Captured
        )
        assert len(psp.book(charge.subject)["captures"]) == 1


async def test_a_dead_psp_is_unknown_for_every_call(till: Till) -> None:
    nobody = Psp("http://127.0.0.1:9", "sk_test_x", timeout_seconds=1.0)
    for outcome in (
        await nobody.capture("pi_1", a_payment(), 1, "CNY"),
        await nobody.void("pi_1", a_payment(), "CNY"),
        await nobody.refund(a_refund(), "pi_1", 1, "CNY"),
        await nobody.retrieve("pi_1"),
        await Till(nobody).find(till.charge()),
        await nobody.find_refund(a_refund(), "pi_1"),
    ):
        assert isinstance(outcome, Unknown)
    await nobody.aclose()

"""A PSP that lies, rambles or hangs, over TCP: nothing it says is believed that does not name our charge and amount,
and no call takes longer or reads more than its bounds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from services.billing.psp import (
    Declined,
    Psp,
    Refused,
    Unknown,
    Voided,
)
from services.billing.psp.transport import LARGEST_ANSWER_BYTES
from tests.services.billing.psp.liar import (
    CHARGE,
    OURS,
    PAYMENT,
    Json,
    Liar,
    an_error,
    an_intent,
    keys_in,
)
from tests.support.factories import a_refund


@pytest.mark.parametrize(
    "changed",
    [
        {"metadata": {}},
        {"metadata": OURS | {"charge_id": str(uuid4())}},
        {"metadata": {"charge_id": "not-an-id", "kind": "payment"}},
        {"metadata": {"charge_id": str(PAYMENT.id), "kind": "top_up"}},
        {"metadata": {"charge_id": str(PAYMENT.id)}},
        {"amount": 8851, "amount_capturable": 8851},
        {"amount_capturable": 8849},
        {"currency": "usd"},
        {"status": "processing"},
        {"status": "succeeded", "amount_received": 8850},
        {"status": "brand_new_status"},
        {"id": "pi_1/../../refunds"},
        {"id": None},
        {"object": "setup_intent"},
        {"amount": "8850"},
        {"amount": -8850},
        {"amount": 8850.0},
    ],
)
async def test_an_authorization_that_is_not_ours(liar: Liar, lied_to: Psp, changed: Json) -> None:
    liar.answers(an_intent(**changed))
    assert isinstance(await lied_to.authorize(CHARGE), Unknown)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_received": 8849},
        {"amount_received": 8850, "id": "pi_2"},
        {"amount_received": 8850, "metadata": OURS | {"charge_id": str(uuid4())}},
        {"amount_received": 8850, "status": "requires_capture"},
        {"amount_received": 8850, "currency": "usd"},
    ],
)
async def test_a_capture_that_is_not_ours(liar: Liar, lied_to: Psp, changed: Json) -> None:
    reported = an_intent(**{"status": "succeeded", "amount_capturable": 0, **changed})
    liar.answers(reported)
    assert isinstance(await lied_to.capture("pi_1", CHARGE.subject, 8850, "CNY"), Unknown)


async def test_a_rejection_that_tells_of_anothers_intent(liar: Liar, lied_to: Psp) -> None:
    for code in (400, 402):
        others = an_intent(
            status="requires_payment_method", metadata=OURS | {"charge_id": str(uuid4())}
        )
        liar.answers(an_error("card_error", payment_intent=others), code)
        assert isinstance(await lied_to.authorize(CHARGE), Unknown)
        assert isinstance(await lied_to.capture("pi_1", CHARGE.subject, 8850, "CNY"), Unknown)
        assert isinstance(await lied_to.void("pi_1", CHARGE.subject, "CNY"), Unknown)


async def test_a_decline_of_what_is_held_contradicts_itself(liar: Liar, lied_to: Psp) -> None:
    liar.answers(an_error("card_error", payment_intent=an_intent()), 402)
    assert isinstance(await lied_to.authorize(CHARGE), Unknown)


@pytest.mark.parametrize("changed", [{"amount": 8851}, {"currency": "usd"}])
async def test_a_decline_of_another_amount_is_not_ours(
    liar: Liar, lied_to: Psp, changed: Json
) -> None:
    declined = an_intent(status="requires_payment_method", amount_capturable=0, **changed)
    liar.answers(an_error("card_error", payment_intent=declined), 402)
    assert isinstance(await lied_to.authorize(CHARGE), Unknown)


async def test_a_void_in_another_currency_is_not_ours(liar: Liar, lied_to: Psp) -> None:
    liar.answers(an_intent(status="canceled", amount_capturable=0))
    assert await lied_to.void("pi_1", PAYMENT, "CNY") == Voided("pi_1")
    outcome = await lied_to.void("pi_1", PAYMENT, "USD")
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("wrong_currency")


@pytest.mark.parametrize("status", [401, 404, 409, 429, 500, 503])
async def test_only_an_error_that_is_replayed_is_over(
    liar: Liar, lied_to: Psp, status: int
) -> None:
    for headers, over in (
        ("", False),
        ("Idempotent-Replayed: false\r\n", False),
        ("Idempotent-Replayed: true\r\n", True),
    ):
        liar.answers(an_error("api_error"), status, headers)
        answers = [
            await lied_to.authorize(CHARGE),
            await lied_to.refund(a_refund(), "pi_1", 5, "CNY"),
        ]
        for answer in answers:
            assert isinstance(answer, Unknown)
            assert answer.over is over


@pytest.mark.parametrize(("attempt", "key"), [(1, ""), (2, ":2"), (12, ":12")])
async def test_each_attempt_has_its_own_key(
    liar: Liar, lied_to: Psp, attempt: int, key: str
) -> None:
    liar.answers(an_error("api_error"), 500)
    refund = a_refund()
    await lied_to.authorize(replace(CHARGE, attempt=attempt))
    await lied_to.charge(replace(CHARGE, attempt=attempt, former_key=True))
    await lied_to.refund(refund, "pi_1", 5, "CNY", attempt=attempt)
    former = PAYMENT.id if attempt == 1 else PAYMENT
    assert [keys_in(head) for head in liar.requests] == [
        f"{PAYMENT}:authorize{key}",
        f"{former}:charge{key}",
        f"{refund}:refund{key}",
    ]


async def test_a_rejection_is_an_answer(liar: Liar, lied_to: Psp) -> None:
    declined = an_intent(status="requires_payment_method", amount_capturable=0)
    liar.answers(an_error("card_error", decline_code="lost_card", payment_intent=declined), 402)
    assert await lied_to.authorize(CHARGE) == Declined("pi_1", "lost_card", "No.")
    liar.answers(an_error(), 400)
    assert await lied_to.refund(a_refund(), "pi_1", 5, "CNY") == Refused("any_code", "No.")


@pytest.mark.parametrize("status", [204, 301, 302, 401, 403, 404, 409, 418, 500, 502, 503, 504])
async def test_every_other_status_is_unknown(liar: Liar, lied_to: Psp, status: int) -> None:
    for body in (an_error(), b"<html>gateway</html>", b""):
        liar.answers(body, status, "Location: /v1/elsewhere\r\n")
        assert isinstance(await lied_to.authorize(CHARGE), Unknown)
        assert isinstance(await lied_to.refund(a_refund(), "pi_1", 5, "CNY"), Unknown)
    assert len(liar.requests) == 6  # a redirect is not followed


@pytest.mark.parametrize("type", ["api_error", "idempotency_error", "rate_limit_error", "new"])
async def test_a_rejection_of_another_kind_is_unknown(liar: Liar, lied_to: Psp, type: str) -> None:
    liar.answers(an_error(type), 400)
    assert isinstance(await lied_to.authorize(CHARGE), Unknown)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01\x02",
        b"HTTP/1.1 200 OK\r\n\r\nnot json",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"[" * 40_000,
        b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}",
    ],
)
async def test_what_is_no_answer_is_unknown(liar: Liar, lied_to: Psp, said: bytes) -> None:
    liar.said = said
    outcome = await lied_to.authorize(CHARGE)
    assert isinstance(outcome, Unknown)
    assert len(outcome.why) < 1_000


async def test_an_answer_without_an_end_is_not_read_to_it(liar: Liar, lied_to: Psp) -> None:
    body = b'{"id": "' + b"x" * (LARGEST_ANSWER_BYTES + 1_000_000)
    liar.said = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + body
    outcome = await lied_to.authorize(CHARGE)
    assert isinstance(outcome, Unknown)
    assert str(LARGEST_ANSWER_BYTES) in outcome.why


async def test_an_answer_that_stops_in_the_middle_is_given_up(liar: Liar, lied_to: Psp) -> None:
    liar.said = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
    liar.pause_seconds = 120
    day = datetime(2026, 9, 1, tzinfo=UTC)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: lied_to.authorize(CHARGE),
        lambda: lied_to.charge(CHARGE),
        lambda: lied_to.capture("pi_1", CHARGE.subject, 8850, "CNY"),
        lambda: lied_to.void("pi_1", CHARGE.subject, "CNY"),
        lambda: lied_to.refund(a_refund(), "pi_1", 1, "CNY"),
        lambda: lied_to.retrieve("pi_1"),
        lambda: lied_to.find(CHARGE, day, day),
        lambda: lied_to.find_refund(a_refund(), "pi_1"),
        lambda: lied_to.balance_transactions(day, day.replace(day=2)),
    ]
    began = time.monotonic()
    outcomes = await asyncio.gather(*(call() for call in calls))
    assert {type(outcome) for outcome in outcomes} == {Unknown}
    assert time.monotonic() - began < 60

"""A PSP that lies, rambles or hangs, over TCP: nothing it says is believed that does not name our charge and amount,
and no call takes longer or reads more than its bounds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from services.billing.psp import (
    ActionRequired,
    Charge,
    Declined,
    Intent,
    Psp,
    Refused,
    Unknown,
    Voided,
)
from services.billing.psp.transport import LARGEST_ANSWER_BYTES
from services.billing.subject import Kind, Subject
from tests.support.factories import a_refund

Json = dict[str, object]
PAYMENT = Subject(Kind.PAYMENT, UUID("00000000-0000-4000-8000-000000000001"))
CHARGE = Charge(PAYMENT, 8850, "CNY", "pm_card_visa")
NOW = datetime(2026, 9, 1, tzinfo=UTC)
OURS = {"charge_id": str(PAYMENT.id), "kind": "payment"}


class Liar:
    """Answers every request with the same bytes, and then closes or hangs."""

    def __init__(self) -> None:
        self.url = ""
        self.said = b""
        self.pause_seconds = 0.0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            for at in range(0, len(self.said), 65_536):
                writer.write(self.said[at : at + 65_536])
                await writer.drain()
            await asyncio.sleep(self.pause_seconds)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answers(self, body: Json | bytes, status: int = 200, headers: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
        self.said = f"{head}{headers}\r\n".encode() + content


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def client(liar: Liar) -> AsyncIterator[Psp]:
    made = Psp(liar.url, "sk_test_x", timeout_seconds=1.0)
    yield made
    await made.aclose()


def an_intent(**changed: object) -> Json:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "requires_capture",
        "amount": 8850,
        "amount_capturable": 8850,
        "amount_received": 0,
        "currency": "cny",
        "metadata": OURS,
        **changed,
    }


def keys_in(head: bytes) -> str:
    """The Idempotency-Key of a request."""
    lines = head.decode().split("\r\n")
    return next(
        line.partition(": ")[2] for line in lines if line.lower().startswith("idempotency-key")
    )


def an_error(type: str = "invalid_request_error", **more: object) -> Json:
    return {"error": {"type": type, "code": "any_code", "message": "No.", **more}}


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
async def test_an_authorization_that_is_not_ours(liar: Liar, client: Psp, changed: Json) -> None:
    liar.answers(an_intent(**changed))
    assert isinstance(await client.authorize(CHARGE), Unknown)


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
async def test_a_capture_that_is_not_ours(liar: Liar, client: Psp, changed: Json) -> None:
    told = an_intent(**{"status": "succeeded", "amount_capturable": 0, **changed})
    liar.answers(told)
    assert isinstance(await client.capture("pi_1", CHARGE.subject, 8850, "CNY"), Unknown)


async def test_a_rejection_that_tells_of_anothers_intent(liar: Liar, client: Psp) -> None:
    for code in (400, 402):
        others = an_intent(
            status="requires_payment_method", metadata=OURS | {"charge_id": str(uuid4())}
        )
        liar.answers(an_error("card_error", payment_intent=others), code)
        assert isinstance(await client.authorize(CHARGE), Unknown)
        assert isinstance(await client.capture("pi_1", CHARGE.subject, 8850, "CNY"), Unknown)
        assert isinstance(await client.void("pi_1", CHARGE.subject, "CNY"), Unknown)


async def test_a_decline_of_what_is_held_contradicts_itself(liar: Liar, client: Psp) -> None:
    liar.answers(an_error("card_error", payment_intent=an_intent()), 402)
    assert isinstance(await client.authorize(CHARGE), Unknown)


@pytest.mark.parametrize("changed", [{"amount": 8851}, {"currency": "usd"}])
async def test_a_decline_of_another_amount_is_not_ours(
    liar: Liar, client: Psp, changed: Json
) -> None:
    declined = an_intent(status="requires_payment_method", amount_capturable=0, **changed)
    liar.answers(an_error("card_error", payment_intent=declined), 402)
    assert isinstance(await client.authorize(CHARGE), Unknown)


async def test_a_void_in_another_currency_is_not_ours(liar: Liar, client: Psp) -> None:
    liar.answers(an_intent(status="canceled", amount_capturable=0))
    assert await client.void("pi_1", PAYMENT, "CNY") == Voided("pi_1")
    outcome = await client.void("pi_1", PAYMENT, "USD")
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("wrong_currency")


@pytest.mark.parametrize("status", [401, 404, 409, 429, 500, 503])
async def test_only_an_error_that_is_replayed_is_over(liar: Liar, client: Psp, status: int) -> None:
    for headers, over in (
        ("", False),
        ("Idempotent-Replayed: false\r\n", False),
        ("Idempotent-Replayed: true\r\n", True),
    ):
        liar.answers(an_error("api_error"), status, headers)
        answers = [
            await client.authorize(CHARGE),
            await client.refund(a_refund(), "pi_1", 5, "CNY"),
        ]
        for answer in answers:
            assert isinstance(answer, Unknown)
            assert answer.over is over


@pytest.mark.parametrize(("attempt", "key"), [(1, ""), (2, ":2"), (12, ":12")])
async def test_each_attempt_has_its_own_key(
    liar: Liar, client: Psp, attempt: int, key: str
) -> None:
    liar.answers(an_error("api_error"), 500)
    refund = a_refund()
    await client.authorize(replace(CHARGE, attempt=attempt))
    await client.charge(replace(CHARGE, attempt=attempt, former_key=True))
    await client.refund(refund, "pi_1", 5, "CNY", attempt=attempt)
    former = PAYMENT.id if attempt == 1 else PAYMENT
    assert [keys_in(head) for head in liar.requests] == [
        f"{PAYMENT}:authorize{key}",
        f"{former}:charge{key}",
        f"{refund}:refund{key}",
    ]


async def test_a_rejection_is_an_answer(liar: Liar, client: Psp) -> None:
    declined = an_intent(status="requires_payment_method", amount_capturable=0)
    liar.answers(an_error("card_error", decline_code="lost_card", payment_intent=declined), 402)
    assert await client.authorize(CHARGE) == Declined("pi_1", "lost_card", "No.")
    liar.answers(an_error(), 400)
    assert await client.refund(a_refund(), "pi_1", 5, "CNY") == Refused("any_code", "No.")


@pytest.mark.parametrize("status", [204, 301, 302, 401, 403, 404, 409, 418, 500, 502, 503, 504])
async def test_every_other_status_is_unknown(liar: Liar, client: Psp, status: int) -> None:
    for body in (an_error(), b"<html>gateway</html>", b""):
        liar.answers(body, status, "Location: /v1/elsewhere\r\n")
        assert isinstance(await client.authorize(CHARGE), Unknown)
        assert isinstance(await client.refund(a_refund(), "pi_1", 5, "CNY"), Unknown)
    assert len(liar.requests) == 6  # a redirect is not followed


@pytest.mark.parametrize("type", ["api_error", "idempotency_error", "rate_limit_error", "new"])
async def test_a_rejection_of_another_kind_is_unknown(liar: Liar, client: Psp, type: str) -> None:
    liar.answers(an_error(type), 400)
    assert isinstance(await client.authorize(CHARGE), Unknown)


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
async def test_what_is_no_answer_is_unknown(liar: Liar, client: Psp, said: bytes) -> None:
    liar.said = said
    outcome = await client.authorize(CHARGE)
    assert isinstance(outcome, Unknown)
    assert len(outcome.why) < 1_000


async def test_an_answer_without_an_end_is_not_read_to_it(liar: Liar, client: Psp) -> None:
    body = b'{"id": "' + b"x" * (LARGEST_ANSWER_BYTES + 1_000_000)
    liar.said = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + body
    outcome = await client.authorize(CHARGE)
    assert isinstance(outcome, Unknown)
    assert str(LARGEST_ANSWER_BYTES) in outcome.why


async def test_an_answer_that_stops_in_the_middle_is_given_up(liar: Liar, client: Psp) -> None:
    liar.said = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
    liar.pause_seconds = 30
    day = datetime(2026, 9, 1, tzinfo=UTC)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.authorize(CHARGE),
        lambda: client.charge(CHARGE),
        lambda: client.capture("pi_1", CHARGE.subject, 8850, "CNY"),
        lambda: client.void("pi_1", CHARGE.subject, "CNY"),
        lambda: client.refund(a_refund(), "pi_1", 1, "CNY"),
        lambda: client.retrieve("pi_1"),
        lambda: client.find(CHARGE, day, day),
        lambda: client.find_refund(a_refund(), "pi_1"),
        lambda: client.balance_transactions(day, day.replace(day=2)),
    ]
    began = time.monotonic()
    outcomes = await asyncio.gather(*(call() for call in calls))
    assert {type(outcome) for outcome in outcomes} == {Unknown}
    assert time.monotonic() - began < 5


async def test_a_list_that_does_not_move_on_is_given_up(liar: Liar, client: Psp) -> None:
    refund = {"id": "re_1", "object": "refund", "amount": 5, "status": "succeeded"}
    liar.answers({"object": "list", "data": [refund], "has_more": True})
    outcome = await client.find_refund(a_refund(), "pi_1")
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("endless")


async def test_one_charge_found_twice_is_unknown(liar: Liar, client: Psp) -> None:
    both = [an_intent(), an_intent(id="pi_2")]
    liar.answers({"object": "list", "data": both, "has_more": False})
    outcome = await client.find(CHARGE, NOW, NOW)
    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("doubled")


async def test_of_two_that_name_the_charge_the_live_one_is_found(liar: Liar, client: Psp) -> None:
    declined = an_intent(id="pi_2", status="requires_payment_method", amount_capturable=0)
    other = an_intent(id="pi_3", metadata=OURS | {"charge_id": str(uuid4())})
    nobodys = an_intent(id="pi_4", metadata={})
    for both in ([declined, an_intent()], [an_intent(), declined]):
        liar.answers({"object": "list", "data": [other, *both, nobodys], "has_more": False})
        found = await client.find(CHARGE, NOW, NOW)
        assert isinstance(found, Intent)
        assert found.id == "pi_1"
    liar.answers({"object": "list", "data": [declined], "has_more": False})
    found = await client.find(CHARGE, NOW, NOW)
    assert isinstance(found, Intent)
    assert isinstance(found.outcome, Declined)


@pytest.mark.parametrize(
    "url", [None, "", "javascript:1", "https://a/\0", "https://" + "a" * 2_048]
)
async def test_a_page_that_no_payer_can_be_shown_is_none(
    liar: Liar, client: Psp, url: str | None
) -> None:
    action = {"type": "x", "x": {"url": url}}
    liar.answers(an_intent(status="requires_action", next_action=action))
    assert await client.authorize(CHARGE) == ActionRequired("pi_1", None)
    liar.answers(an_intent(status="requires_action", next_action=None))
    assert await client.authorize(CHARGE) == ActionRequired("pi_1", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 6},
        {"payment_intent": "pi_2"},
        {"payment_intent": None},
        {"metadata": {}},
        {"metadata": {"refund_id": str(PAYMENT.id), "kind": "refund"}},
        {"status": "undecided"},
        {"currency": "usd"},
    ],
)
async def test_a_refund_that_is_not_ours(liar: Liar, client: Psp, changed: Json) -> None:
    refund = a_refund()
    told = {
        "id": "re_1",
        "object": "refund",
        "amount": 5,
        "status": "succeeded",
        "currency": "cny",
        "payment_intent": "pi_1",
        "metadata": {"refund_id": str(refund.id), "kind": "refund"},
        **changed,
    }
    liar.answers(told)
    assert isinstance(await client.refund(refund, "pi_1", 5, "CNY"), Unknown)
    liar.answers({"object": "list", "data": [told], "has_more": False})
    found = await client.find_refund(refund, "pi_1", 5, "CNY")
    assert found is None or isinstance(found, Unknown)


async def test_the_key_is_not_told_in_what_went_wrong(liar: Liar) -> None:
    secret = "sk_test_not_for_logs"
    client = Psp(liar.url, secret, timeout_seconds=0.2)
    liar.said = b"HTTP/1.1 200 OK\r\n"
    liar.pause_seconds = 30
    outcome = await client.authorize(CHARGE)
    await client.aclose()
    assert f"authorization: Bearer {secret}".encode() in liar.requests[0]
    assert isinstance(outcome, Unknown)
    assert secret not in outcome.why

"""Whatever a biller says, in whatever dialect: no call raises, and nothing but our own serial and amount is Applied."""

import contextlib
import json
from collections.abc import Callable
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.bills.connectors.dialect import BillerEndpoint, Dialect
from services.billing.bills.connectors.gbk_xml import yuan
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    BillerDown,
    BillerRefused,
    BillerUnknown,
    DayFileError,
    Found,
    NoSuchAccount,
    NotApplied,
    NothingOwed,
    Unapplied,
)
from services.billing.bills.connectors.registry import DIALECTS
from services.billing.bills.connectors.signed_form import sign
from tests.services.billing.bills.connectors.conftest import Stranger, response

SECRET = "shared"
SERIAL, AMOUNT_MINOR = "serial-1", 8_000
APPLICATION = Application(SERIAL, "1000000001", "bill-1", AMOUNT_MINOR, "CNY")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
statuses = st.sampled_from(
    ["OK", "NO_ACCOUNT", "NOT_APPLIED", "UNAPPLIED", "REFUSED", "AAAAAAA", "E000101", "ok", ""]
)
bills = st.fixed_dictionaries(
    {"bill_number": st.just("1"), "period": st.just("1"), "currency": st.just("CNY")},
    optional={
        "amount_minor": st.just(1) | anything,
        "rule": st.just("exact") | anything,
        "expires_at": st.sampled_from(["2026-12-01T00:00:00+08:00", "0001-01-01", "soon"])
        | anything,
        "due_on": st.just("2026-12-01") | anything,
        "min_minor": anything,
    },
)
# Often right in all but the amount, which never is.
fields = st.fixed_dictionaries(
    {},
    optional={
        "status": statuses | anything,
        "serial": st.just(SERIAL) | anything,
        "account_number": st.just("1000000001") | anything,
        "bill_number": st.just("bill-1") | anything,
        "currency": st.just("CNY") | anything,
        "amount_minor": (st.integers() | anything).filter(lambda said: said != AMOUNT_MINOR),
        "code": st.just("bill_already_paid") | anything,
        "reference": st.text(max_size=80) | anything,
        "bills": st.lists(bills, max_size=2) | anything,
    },
)


def as_json(said: dict[str, object]) -> bytes:
    return json.dumps(said).encode()


def as_form(said: dict[str, object]) -> bytes:
    expected = {
        name: json.dumps(value) if name == "bills" else str(value)
        for name, value in said.items()
        if str(value).isprintable() and str(value)
    }
    return urlencode({**expected, "sign": sign(expected, SECRET)}).encode()


def as_xml(said: dict[str, object]) -> bytes:
    names = {"status": "RetCode", "serial": "TranSeq", "code": "RetMsg"}
    others = {"account_number": "BillKey", "bill_number": "BillNo"}
    others |= {"amount_minor": "PayAmount", "reference": "RefNo"}
    head, body = (
        "".join(
            f"<{tag}>{escape(str(said[name]))}</{tag}>"
            for name, tag in part.items()
            if name in said
        )
        for part in (names, others)
    )
    listed = said.get("bills")
    for bill in listed if isinstance(listed, list) else ():
        body += f"<Bill>{escape(str(bill))}<PayRule>0</PayRule></Bill>"
    return f"<Response><Head>{head}</Head><Body>{body}</Body></Response>".encode("gbk", "ignore")


WRITERS = {"json": as_json, "form": as_form, "gbk-xml": as_xml}
hostile = st.binary(max_size=200) | st.sampled_from(
    [
        b"[" * 100_000,
        b'{"status":"OK","bills":[null]}',
        b'{"status":' + b"[" * 100_000,
        b'{"status":"OK","serial":"serial-1","amount_minor":' + b"9" * 5_000 + b"}",
        b'{"status":"OK","serial":"serial-1","amount_minor":8000.0,"reference":"R"}',
        b'{"status":"OK","serial":"serial-1","amount_minor":"8000","reference":"R"}',
        b'{"status":"OK","serial":"serial-1","amount_minor":8000,"reference":"\\u0000"}',
        b'{"status":"OK","serial":"serial-1","amount_minor":8000,"reference":"\\ud800"}',
        b"<a>" * 50_000,
        "<Response><Head><RetCode>AAAAAAA</RetCode><TranSeq>serial-1</TranSeq></Head>"
        "<Body><PayAmount>８0.00</PayAmount></Body></Response>".encode("gbk"),
    ]
)


def speaking(name: str, client: HttpClient, stranger: Stranger, answer: bytes) -> Dialect:
    """A connector to a biller that brings the same answer to every question."""
    stranger.answer = response(answer)
    return DIALECTS[name](client, BillerEndpoint("stranger", stranger.url, SECRET, "CNY", 5.0))


async def judge(connector: Dialect, answer: bytes) -> None:
    """Ask everything; whatever comes must be one of the outcomes, and nothing may be Applied."""
    looked_up = await connector.lookup("1000000001")
    assert isinstance(looked_up, Found | NothingOwed | NoSuchAccount | BillerDown)
    assert isinstance(await connector.apply(APPLICATION), BillerRefused | BillerUnknown)
    requested = await connector.query(APPLICATION)
    assert isinstance(requested, NotApplied | Unapplied | BillerUnknown)
    taken_back = await connector.unapply(APPLICATION)
    assert isinstance(taken_back, Unapplied | BillerRefused | BillerUnknown)
    with contextlib.suppress(DayFileError):
        connector.parse_day_file(answer)


Answer = dict[str, object]
Speaking = Callable[[str, Answer], Dialect]
# What an answer may name beside the serial and the amount.
OURS: Answer = {"account_number": "1000000001", "bill_number": "bill-1", "currency": "CNY"}
_RET_CODES = {
    "OK": "AAAAAAA",
    "UNAPPLIED": "E000003",
    "NOT_APPLIED": "E000002",
    "REFUSED": "E000101",
}


def right(dialect: str, status: str = "OK", named: Answer | None = None) -> Answer:
    """The answer to our application, in the fields that `WRITERS` take; `named` is added or another."""
    fields: Answer = {"status": status, "serial": SERIAL, "reference": "R1", "code": "no"}
    fields |= {"amount_minor": AMOUNT_MINOR, **(named or {})}
    if dialect == "gbk-xml":
        fields |= {
            "status": _RET_CODES[status],
            "amount_minor": yuan(int(str(fields["amount_minor"]))),
        }
    return fields


@pytest.fixture
def customer_of(client: HttpClient, stranger: Stranger) -> Speaking:
    """A connector to a biller that gives this answer in its dialect."""
    return lambda dialect, said: speaking(dialect, client, stranger, WRITERS[dialect](said))


small = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(small, max_examples=50)
@given(answer=hostile)
async def test_bytes(dialect: str, client: HttpClient, stranger: Stranger, answer: bytes) -> None:
    await judge(speaking(dialect, client, stranger, answer), answer)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(small, max_examples=120)
@given(said=fields)
async def test_answers_that_are_almost_right(
    dialect: str, client: HttpClient, stranger: Stranger, said: dict[str, object]
) -> None:
    answer = WRITERS[dialect](said)
    await judge(speaking(dialect, client, stranger, answer), answer)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_right_answer_is_believed(
    dialect: str, client: HttpClient, stranger: Stranger
) -> None:
    # So that the tests above are not right about a connector that believes nothing.
    for answer in (right(dialect), right(dialect, named=OURS)):
        connector = speaking(dialect, client, stranger, WRITERS[dialect](answer))
        assert await connector.apply(APPLICATION) == Applied("R1")
        assert await connector.query(APPLICATION) == Applied("R1")
        assert await connector.unapply(APPLICATION) == Unapplied()


@pytest.mark.parametrize("status", ["OK", "UNAPPLIED", "NOT_APPLIED", "REFUSED"])
@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"serial": "serial-2"}, "the answer does not name our serial"),
        ({"amount_minor": AMOUNT_MINOR + 1}, "the answer names another amount"),
        ({"account_number": "1000000002"}, "the answer names another account"),
        ({"bill_number": "bill-2"}, "the answer names another bill"),
        ({"currency": "USD"}, "the answer names another currency"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_about_another_application_is_unknown(
    dialect: str, named: Answer, why: str, status: str, customer_of: Speaking
) -> None:
    if dialect == "gbk-xml" and "currency" in named:
        pytest.skip("the dialect names no currency")
    connector = customer_of(dialect, right(dialect, status, OURS | named))
    for ask in (connector.apply, connector.query, connector.unapply):
        assert await ask(APPLICATION) == BillerUnknown(why)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_mark_without_an_amount_is_unknown(dialect: str, customer_of: Speaking) -> None:
    text = right(dialect, named=OURS)
    del text["amount_minor"]
    connector = customer_of(dialect, text)
    for ask in (connector.apply, connector.query):
        assert await ask(APPLICATION) == BillerUnknown("the answer does not name our amount")
    assert await connector.unapply(APPLICATION) == Unapplied()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_status_that_we_do_not_know_is_no_refusal(
    dialect: str, client: HttpClient, stranger: Stranger
) -> None:
    fields: dict[str, object] = {"status": "E999999", "serial": SERIAL, "code": "paid"}
    connector = speaking(dialect, client, stranger, WRITERS[dialect](fields))
    assert isinstance(await connector.apply(APPLICATION), BillerUnknown)

"""The strings to pull, and what a biller does with requests that are none."""

import hashlib
import hmac
import time
from collections.abc import Iterator

import httpx
import pytest

from sandbox.billers.biller_list import BY_ID
from sandbox.billers.files import BY_FILE
from services.billing.bills.read_file import BadLine, Expected, read_bills
from tests.support.billers import SandboxBillers


@pytest.fixture
def http(billers: SandboxBillers) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=billers.url, timeout=10) as client:
        yield client
    billers.clear_faults()


def test_it_lives(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "ok"}


def test_accounts_are_told_by_what_they_owe(billers: SandboxBillers) -> None:
    every = billers.accounts("wh-water", limit=1_000, owing=None)
    owing = billers.accounts("wh-water", limit=1_000)
    idle = billers.accounts("wh-water", limit=1_000, owing=False)
    assert len(every) == 400
    assert sorted(owing + idle) == sorted(every)
    assert billers.accounts("wh-water", limit=3) == owing[:3]


def test_faults_are_listed_and_cleared_by_biller(
    billers: SandboxBillers, http: httpx.Client
) -> None:
    billers.add_fault("hz-water", "lookup", "down", times=2)
    billers.add_fault("*", "*", "refuse", probability=0.5, code="maintenance")
    body = http.get("/sandbox/faults").json()["faults"]
    assert [(each["biller"], each["times"], each["probability"]) for each in body] == [
        ("hz-water", 2, None),
        ("*", None, 0.5),
    ]
    billers.clear_faults("hz-water")
    assert [each["biller"] for each in http.get("/sandbox/faults").json()["faults"]] == ["*"]
    billers.clear_faults()
    assert http.get("/sandbox/faults").json()["faults"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "explode"},
        {"kind": "down", "operation": "dance"},
        {"kind": "down", "biller": "nobody"},
        {"kind": "down", "times": 1, "probability": 0.5},
        {"kind": "down", "probability": 2},
        {"kind": "refuse", "code": "A code?"},
        {"kind": "down", "colour": "red"},
    ],
)
def test_a_fault_that_does_not_exist_is_refused(
    asked: dict[str, object], http: httpx.Client
) -> None:
    assert http.post("/sandbox/faults", json=asked).status_code == 422


def test_unknown_billers_and_accounts_are_not_found(http: httpx.Client) -> None:
    assert http.get("/sandbox/accounts", params={"biller": "nobody"}).status_code == 404
    bill = {"biller": "hz-water", "account_number": "nobody", "amount_minor": 1}
    assert http.post("/sandbox/bills", json=bill).status_code == 404
    assert http.post("/nobody/lookup").status_code == 404
    assert http.post("/lz-water/lookup").status_code == 404
    assert http.post("/sandbox/file-billers/answer", params={"day": "today"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("hz-water/lookup", {}, 401),
        (
            "hz-water/lookup",
            {"X-Timestamp": "1", "X-Signature": "0"},
            401,
        ),
        ("south-gas/gateway", {}, 400),
        ("south-gas/elsewhere", {}, 404),
        ("sh-water/service", {"X-Mac": "0" * 64}, 401),
        ("sh-water/elsewhere", {}, 404),
    ],
)
def test_a_request_that_nobody_signed_is_turned_away(
    path: str, headers: dict[str, str], status: int, http: httpx.Client
) -> None:
    answer = http.post(f"/{path}", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert http.post(f"/{path}", content=b"x" * 70_000, headers=headers).status_code == 413


def test_a_recorded_request_is_not_taken_later(billers: SandboxBillers, http: httpx.Client) -> None:
    def ask(at: int) -> int:
        body = b'{"account_number":"1"}'
        signature = hmac.new(
            billers.secret("hz-water").encode(), f"{at}.".encode() + body, hashlib.sha256
        )
        headers = {"X-Timestamp": str(at), "X-Signature": signature.hexdigest()}
        return http.post("/hz-water/lookup", content=body, headers=headers).status_code

    now = int(time.time())
    assert ask(now) == 200
    assert ask(now - 330) == 401
    assert ask(now + 330) == 401


def test_bills_by_file_are_what_our_import_takes(billers: SandboxBillers) -> None:
    for biller in BY_FILE:
        (file,) = (billers.data_dir / "billers" / biller / "bills").glob("*.csv")
        rows = list(read_bills(file, Expected("CNY", BY_ID[biller].pattern)))
        assert len(rows) > 400
        assert [row for row in rows if isinstance(row, BadLine)] == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "no such file"),
        ("", "not a day file"),
        (
            "2|100\n20260101|s|b|100|apply|2026-01-01T09:00:00+08:00\n",
            "2|100 is in the header, 1|100 in the lines",
        ),
        ("1|100\n20260101|s|b|100|steal|2026-01-01T09:00:00+08:00\n", "not a day file"),
    ],
)
def test_a_day_file_that_makes_no_sense_is_not_booked(
    content: str | None, error: str, billers: SandboxBillers
) -> None:
    folder = billers.data_dir / "billers" / "ty-heating"
    if content is not None:
        (folder / "outgoing").mkdir(exist_ok=True)
        (folder / "outgoing" / "20260101.txt").write_text(content)
    lines = billers.answer_day_files("20260101")["ty-heating"]
    assert error in lines["error"]
    assert not (folder / "incoming" / "20260101.txt").exists()
    assert billers.book("ty-heating") == []

"""A biller that is broken or hostile on the wire gets its time and its size, no more, and no second request."""

import asyncio
import gzip
import time
from datetime import UTC, datetime

import pytest

from services.billing.bills.connectors import dialect as dialects
from services.billing.bills.connectors.dialect import BillerEndpoint, Dialect
from services.billing.bills.connectors.gbk_xml import GbkXml
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.json_http import JsonHttp
from services.billing.bills.connectors.protocol import (
    Application,
    BillerDown,
    BillerUnknown,
    NoSuchAccount,
)
from tests.services.billing.bills.connectors.conftest import Stranger, response

APPLICATION = Application("serial-1", "1000000001", "bill-1", 8_000, "CNY")
APPLIED = b'{"status":"OK","serial":"serial-1","amount_minor":8000,"reference":"R1"}'


@pytest.fixture
def connector(client: HttpClient, stranger: Stranger) -> JsonHttp:
    return JsonHttp(client, BillerEndpoint("stranger", stranger.url, "secret", "CNY", 0.5))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + APPLIED,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + APPLIED,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + APPLIED,
        b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n" + APPLIED,
        response(APPLIED, "500 Internal Server Error"),
        response(APPLIED, "202 Accepted"),
        response(APPLIED, "302 Found", "Location: /apply"),
        response(APPLIED, "401 Unauthorized"),
        response(gzip.compress(APPLIED), "200 OK", "Content-Encoding: gzip"),
        response(gzip.compress(b"0" * 50_000_000), "200 OK", "Content-Encoding: gzip"),
        response(b" " * 1_048_577 + APPLIED),
    ],
    ids=lambda answer: repr(answer[:48]),
)
async def test_what_is_no_answer_leaves_us_not_knowing(
    answer: bytes, connector: Dialect, stranger: Stranger
) -> None:
    stranger.answer = answer
    assert isinstance(await connector.apply(APPLICATION), BillerUnknown)
    assert stranger.requests == 1
    assert isinstance(await connector.lookup("1000000001"), BillerDown)
    assert isinstance(await connector.query(APPLICATION), BillerUnknown)
    assert isinstance(await connector.unapply(APPLICATION), BillerUnknown)


@pytest.mark.alone
async def test_an_answer_that_drips_does_not_outlast_its_time(
    connector: Dialect, stranger: Stranger
) -> None:
    stranger.answer, stranger.drip_seconds = response(APPLIED), 0.05
    began = time.monotonic()
    answer = await connector.apply(APPLICATION)
    assert answer == BillerUnknown("no answer within 0.5 s")
    assert 0.4 < time.monotonic() - began < 3


async def test_an_unreachable_biller_is_unknown_for_an_apply_and_down_for_a_lookup(
    client: HttpClient,
) -> None:
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:99999", "http://[", "nonsense"):
        connector = JsonHttp(client, BillerEndpoint("stranger", url, "secret", "CNY", 0.5))
        assert isinstance(await connector.apply(APPLICATION), BillerUnknown)
        assert isinstance(await connector.lookup("1000000001"), BillerDown)
        with pytest.raises(OSError, match="stranger"):
            await connector.day_file(datetime.now(UTC).date())


async def test_what_went_wrong_is_told(connector: Dialect, stranger: Stranger) -> None:
    # An empty answer is a connection that the biller closes without a word.
    assert await connector.apply(APPLICATION) == BillerUnknown(
        "connection: ServerDisconnectedError"
    )
    stranger.hold = asyncio.Event()
    assert await connector.apply(APPLICATION) == BillerUnknown("no answer within 0.5 s")
    stranger.hold.set()


async def test_a_day_file_may_be_large_but_not_endless(
    connector: Dialect, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = datetime.now(UTC).date()
    stranger.answer = response(b"0|0\n" + b" " * 1_500_000)
    assert len(await connector.day_file(day)) == 1_500_004
    monkeypatch.setattr(dialects, "LARGEST_FILE_BYTES", 1_000_000)
    with pytest.raises(OSError, match="more than 1000000 bytes"):
        await connector.day_file(day)


async def test_a_document_type_is_refused_whatever_it_says(
    client: HttpClient, stranger: Stranger
) -> None:
    connector = GbkXml(client, BillerEndpoint("stranger", stranger.url, "secret", "CNY", 5.0))
    head = "<Head><RetCode>{}</RetCode></Head><Body><BillKey>1</BillKey></Body>"
    content = f'<?xml version="1.0" encoding="GBK"?><Response>{head}</Response>'
    stranger.answer = response(content.format("E000001").encode("gbk"))
    assert await connector.lookup("1") == NoSuchAccount()
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    for declared in (
        f'<!DOCTYPE Response [<!ENTITY l0 "ha">{laughs}]>',
        '<!DOCTYPE Response [<!ENTITY file SYSTEM "file:///etc/hostname">]>',
        '<!doctype Response SYSTEM "http://127.0.0.1/evil.dtd">',
    ):
        document = f"{declared}<Response>{head.format('&l9;')}</Response>"
        stranger.answer = response(document.encode("gbk"))
        assert await connector.lookup("1") == BillerDown(
            "nonsense: a document type declaration is refused"
        )


async def test_a_question_that_the_dialect_cannot_write_is_not_sent(
    client: HttpClient, stranger: Stranger
) -> None:
    connector = GbkXml(client, BillerEndpoint("stranger", stranger.url, "secret", "CNY", 5.0))
    assert isinstance(await connector.lookup("户号\U0001f4a1"), BillerDown)
    assert stranger.requests == 0


async def test_a_call_without_a_waiting_caller_is_abandoned(
    connector: Dialect, stranger: Stranger
) -> None:
    stranger.hold = asyncio.Event()
    call = asyncio.create_task(connector.apply(APPLICATION))
    async with asyncio.timeout(5):
        await stranger.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stranger.hold.set()

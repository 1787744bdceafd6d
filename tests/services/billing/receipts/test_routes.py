"""A receipt for the public and for its channel: pages and JSON, in two languages, in its present state."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from html.parser import HTMLParser

import httpx
import pytest
import segno
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http import problems
from events.ids import uuid7
from services.billing import channels, receipts
from services.billing.receipts.routes import router
from services.billing.settings import Settings
from tests.services.billing.receipts.plant import PAID, Paid, plant, refund

PUBLIC = "https://pay.example.cn"
JSON = {"Accept": "application/json"}
NOBODYS = "20261123-0000-0000-0000-000A"


@dataclass
class Hall:
    """The receipts' routes over a database, and someone who asks."""

    engine: AsyncEngine
    client: httpx.AsyncClient

    async def issue(self, *payments: Paid) -> list[str]:
        async with self.engine.begin() as connection:
            return [receipts.grouped(each) for each in await plant(connection, *payments)]

    async def key(self, channel: str) -> dict[str, str]:
        async with self.engine.begin() as connection:
            await channels.create_channel(connection, channel, channel)
            key = await channels.issue_key(connection, channel)
        return {"Authorization": f"Bearer {key}"}

    async def page(self, number: str, language: str = "en") -> str:
        answer = await self.client.get(f"/r/{number}", params={"lang": language})
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
async def hall(engine: AsyncEngine) -> AsyncIterator[Hall]:
    app = FastAPI()
    problems.install(app)
    app.include_router(router)
    app.state.engine = engine
    url = engine.url.render_as_string(hide_password=False)
    app.state.settings = Settings.model_validate({"database_url": url, "public_url": PUBLIC + "/"})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
        yield Hall(engine, client)


async def test_the_page_says_what_was_paid_to_whom_and_when(hall: Hall) -> None:
    (number,) = await hall.issue(Paid())
    page = await hall.page(number)
    for text in (number, "Hangzhou Water Group", "•••• 4417", "2026-10", "CN¥88.50", "Valid"):
        assert text in page
    assert "23 November 2026, 10:30:05" in page, "the clock of payers and billers"
    assert "330106" not in page, "of the account number its ending only"
    chinese = await hall.page(number, "zh-CN")
    for text in ("电子缴费回单", "杭州水务集团有限公司", "¥88.50", "人民币捌拾捌元伍角整", "有效"):
        assert text in chinese
    assert "2026年11月23日 10:30:05" in chinese


async def test_the_code_leads_to_the_public_address_of_this_receipt(hall: Hall) -> None:
    (number,) = await hall.issue(Paid())
    page = await hall.page(number)
    address = f"{PUBLIC}/r/{number}"
    assert f'<a href="{address}">' in page
    drawn = segno.make(address, error="m", micro=False).svg_inline(
        border=0, omitsize=True, svgclass="qr", lineclass=None
    )
    assert drawn in page


@pytest.mark.parametrize("path", ["/r", "/r/{}", f"/r/{NOBODYS}"])
async def test_a_page_loads_and_runs_nothing(hall: Hall, path: str) -> None:
    (number,) = await hall.issue(Paid())
    answer = await hall.client.get(path.format(number))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert b64encode(sha256(style.encode()).digest()).decode() in policy
    tags = _tags(answer.text)
    assert not tags.keys() & {"script", "img", "link", "iframe", "object", "base"}
    assert not [name for names in tags.values() for name in names if name.startswith("on")]
    assert "style" not in {name for names in tags.values() for name in names}
    assert "url(" not in style
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in policy


async def test_a_receipt_shows_refunds_and_voiding(hall: Hall) -> None:
    paid = Paid(amount_minor=30_000)
    whole = replace(paid, id=uuid7(), account_id=uuid7(), account_number="2")
    (number, other) = await hall.issue(paid, whole)
    async with hall.engine.begin() as connection:
        await refund(connection, paid, 5_000)
        await receipts.void(connection, {whole.id: whole.at}, "reversed")
    page = await hall.page(number)
    assert "Refunded in part" in page
    assert "CN¥50.00" in page
    assert "已部分退款" in await hall.page(number, "zh-CN")
    async with hall.engine.begin() as connection:
        await refund(connection, paid, 25_000)
    page = await hall.page(number)
    assert "The whole amount was given back on" in page
    assert 'class="refunded"' in page
    assert "Valid" not in page
    assert "This receipt proves no payment any more." in await hall.page(other)
    assert "已冲正" in await hall.page(other, "zh-CN")
    body = (await hall.client.get(f"/r/{number}", headers=JSON)).json()
    assert (body["state"], body["refunded_minor"]) == ("refunded", 30_000)
    assert body["voided_at"]


async def test_names_that_a_biller_chose_are_text_and_nothing_else(hall: Hall) -> None:
    name = '<script>alert(1)</script>"><img src=x onerror=alert(2)> {{ 7*7 }} %(x)s'
    (number,) = await hall.issue(Paid(name_zh=name, name_en=name, period="</dd><script>"))
    for language in ("zh-CN", "en"):
        page = await hall.page(number, language)
        assert not _tags(page).keys() & {"script", "img"}
        assert "&lt;script&gt;alert(1)" in page
        assert "{{ 7*7 }} %(x)s" in page


@pytest.mark.parametrize(
    "typed", ["<script>alert(1)</script>", '"><b>', NOBODYS[:-1] + "Z", "{{7*7}}"]
)
async def test_typed_text_is_escaped_in_the_page(hall: Hall, typed: str) -> None:
    answer = await hall.client.get("/r", params={"number": typed, "lang": "en"})
    assert answer.status_code == 404
    assert _tags(answer.text).keys().isdisjoint({"script", "b"})
    assert "49" not in answer.text


@pytest.mark.parametrize(
    ("typed", "slug", "message"),
    [
        ("nonsense", "receipt-number-malformed", "This is not a receipt number"),
        ("20261123-0000-0000-0000-000B", "receipt-number-mistyped", "This number was mistyped"),
        (None, "receipt-unknown", "There is no such receipt"),
    ],
)
async def test_a_page_without_a_receipt_says_the_reason(
    hall: Hall, typed: str | None, slug: str, message: str
) -> None:
    typed = typed or receipts.grouped(receipts.number_of(uuid7(), PAID))
    page = await hall.client.get(f"/r/{typed}", params={"lang": "en"})
    assert page.status_code == 404
    assert message in page.text
    assert f'value="{typed}"' in page.text, "to be corrected, not typed again"
    problem = await hall.client.get(f"/r/{typed}", headers=JSON)
    assert problem.status_code == 404
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["type"] == f"/problems/{slug}"
    assert problem.json()["check_character_fits"] == (slug == "receipt-unknown")


async def test_the_form_leads_to_the_receipt_however_its_number_is_typed(hall: Hall) -> None:
    (number,) = await hall.issue(Paid())
    for typed in (number, number.lower(), number.replace("-", ""), f" {number.replace('-', ' ')} "):
        answer = await hall.client.get("/r", params={"number": typed, "lang": "en"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/r/{number}?lang=en")
    assert "Type the number" in (await hall.client.get("/r", params={"lang": "en"})).text


@pytest.mark.parametrize(
    ("requested", "wanted", "given"),
    [
        (None, "en-GB,en;q=0.9", "en"),
        (None, "fr, zh-TW;q=0.5, en;q=0.4", "zh-CN"),
        (None, "zh;q=0.2, en;q=0.8", "en"),
        (None, "fr", "zh-CN"),
        (None, "", "zh-CN"),
        ("en", "zh-CN", "en"),
        ("zh-CN", "en", "zh-CN"),
        ("klingon", "en;q=nonsense,en", "en"),
    ],
)
async def test_the_language_is_the_requested_one_or_the_browsers(
    hall: Hall, requested: str | None, wanted: str, given: str
) -> None:
    answer = await hall.client.get(
        "/r", params={"lang": requested} if requested else {}, headers={"Accept-Language": wanted}
    )
    assert answer.headers["content-language"] == given
    assert f'<html lang="{given}">' in answer.text
    assert "Accept-Language" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("application/json;q=0, text/html", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("", "text/html; charset=utf-8"),
    ],
)
async def test_a_page_or_json_by_what_is_accepted(hall: Hall, wanted: str, given: str) -> None:
    (number,) = await hall.issue(Paid())
    answer = await hall.client.get(f"/r/{number}", headers={"Accept": wanted})
    assert answer.headers["content-type"] == given
    assert answer.headers["cache-control"] == "no-store"


async def test_the_public_learns_no_more_from_json_than_from_the_page(hall: Hall) -> None:
    (number,) = await hall.issue(Paid())
    body = (await hall.client.get(f"/r/{number}", headers=JSON)).json()
    assert body == {
        "number": number,
        "state": "valid",
        "biller_id": "hz-water",
        "biller_name_zh": "杭州水务集团有限公司",
        "biller_name_en": "Hangzhou Water Group",
        "account_ending": "4417",
        "period": "2026-10",
        "amount_minor": 8850,
        "refunded_minor": 0,
        "currency": "CNY",
        "paid_at": "2026-11-23T02:30:05Z",
        "voided_at": None,
    }


async def test_a_channel_finds_its_own_receipts_and_nobody_elses(hall: Hall) -> None:
    mine = Paid()
    yours = Paid(channel="other", account_number="2")
    mine_number, yours_number = await hall.issue(mine, yours)
    key = await hall.key("citywallet")
    by_number = await hall.client.get(f"/v1/receipts/{mine_number}", headers=key)
    by_payment = await hall.client.get(f"/v1/payments/{mine.id}/receipt", headers=key)
    assert by_number.status_code == by_payment.status_code == 200
    assert by_number.json() == by_payment.json()
    assert by_number.json()["payment_id"] == str(mine.id)
    assert by_number.json()["bill_number"] == "B-2026-10-1"
    assert by_number.json()["verify_url"] == f"{PUBLIC}/r/{mine_number}"
    for path in (
        f"/v1/receipts/{yours_number}",
        f"/v1/payments/{yours.id}/receipt",
        f"/v1/payments/{uuid7()}/receipt",
    ):
        refused = await hall.client.get(path, headers=key)
        assert refused.status_code == 404
        assert refused.json()["type"] == "/problems/not-found"
    assert (await hall.client.get(f"/v1/receipts/{mine_number}")).status_code == 401


async def test_other_currencies_keep_their_own_number_of_digits(hall: Hall) -> None:
    yen = Paid(amount_minor=1200, currency="JPY", biller="jp", at=PAID + timedelta(days=1))
    (number,) = await hall.issue(yen)
    page = await hall.page(number, "zh-CN")
    assert "JP¥1,200" in page
    assert "人民币" not in page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, set()).update(name for name, _ in attrs)


def _tags(page: str) -> dict[str, set[str]]:
    """The tags of a page with all their attributes."""
    parser = _Tags()
    parser.feed(page)
    return parser.found

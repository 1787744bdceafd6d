"""Mails: the payer's language, amounts and links, and headers that nobody can add a line to."""

import ast
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.policy import default
from inspect import getsource
from pathlib import Path

import pytest
from aiohttp import web
from babel.messages.pofile import read_po

from events.ids import uuid7
from events.message import Event
from services.notifications.deliveries.send import Sender
from services.notifications.mail import BillerNames, MailOutlet, Smtp, words
from services.notifications.mail.compose import Letter, compose, one_line
from services.notifications.mail.words import Language, money
from tests.services.notifications.support import (
    ISSUED_AT,
    NUMBER,
    Hall,
    failed,
    issued,
    message_of,
    refunded,
    voided,
)

SENDER = "Meterhall <no-reply@hall.example>"
GROUPED = "20261123-7K2M-9QXA-B0CD-4TFW"
LINK = f"https://hall.example/r/{GROUPED}"


@pytest.fixture
async def catalogue() -> AsyncIterator[str]:
    """Billing's public catalogue, as far as mails need it, over TCP."""
    lines: list[str] = []

    async def biller(http: web.Request) -> web.Response:
        lines.append(http.match_info["id"])
        if http.match_info["id"] != "hz-water":
            return web.json_response({}, status=404)
        return web.json_response(
            {"id": "hz-water", "name_zh": "杭州水务", "name_en": "Hangzhou <Water>\r\nBcc: x@y.org"}
        )

    app = web.Application()
    app.router.add_get("/v1/billers/{id}", biller)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    assert lines.count("hz-water") <= 1, "names are cached"


async def test_a_receipt_is_told_in_the_payers_language(hall: Hall, catalogue: str) -> None:
    mail = MailOutlet(Smtp(hall.settings), BillerNames(catalogue), SENDER, "https://hall.example")
    sender = Sender(hall.engine, {"mail": mail}, {"mail": 4})
    channel = await hall.channel()
    (one, zh), (two, en) = await hall.payer(channel, "zh-CN"), await hall.payer(channel, "en")
    await hall.take(message_of(issued(channel, one, 123_456_789)))
    await hall.take(message_of(issued(channel, two, 8850)))
    assert await sender.run_once() == 2
    await mail.aclose()

    [chinese], [english] = hall.mailbox.mails(zh), hall.mailbox.mails(en)
    assert chinese["subject"] == "缴费回单：杭州水务 ¥1,234,567.89"
    assert "2026年11月23日 16:30:00 北京时间" in chinese["body"]
    # What a biller calls itself is text: not a header, not markup.
    assert english["subject"] == "Receipt: CN¥88.50 to Hangzhou <Water> Bcc: x@y.org"
    assert "23 November 2026, 16:30:00 Beijing time" in english["body"]
    assert "Hangzhou &lt;Water&gt; Bcc" in english["html"]
    assert '<html lang="en">' in english["html"]
    assert '<html lang="zh-CN">' in chinese["html"]
    for each in (chinese, english):
        assert LINK in each["body"]
        assert f'href="{LINK}"' in each["html"]
        assert GROUPED in each["body"]
        names = [name.lower() for name, _ in each["headers"]]
        assert "bcc" not in names
        assert len(names) == len(set(names))
        headers = dict(each["headers"])
        assert headers["From"] == SENDER
        assert headers["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize(
    "event",
    [
        issued("app", "p"),
        failed("app", "p", "declined"),
        failed("app", "p", "voided"),
        failed("app", "p", "rejected").model_copy(update={"biller_id": None}),
        refunded("app", "p", 4000, 4000),
        refunded("app", "p", 4850, 8850),
        voided("app", "p", "reversed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_mail_says_the_same_in_text_and_page(event: Event, language: Language) -> None:
    biller = "Hangzhou Water" if getattr(event, "biller_id", None) else None
    letter = Letter(uuid7(), ISSUED_AT, event, "payer@example.org", language, biller)
    raw = compose(letter, SENDER, "https://hall.example").as_bytes()
    assert raw == compose(letter, SENDER, "https://hall.example").as_bytes()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    message = message_from_bytes(raw, policy=default)
    text, page = (str(part.get_content()) for part in message.iter_parts())
    result = words.words_of(event, language, biller or "", "https://hall.example")
    assert message["Subject"] == result.subject
    for piece in (result.title, *result.lines, *(part for fact in result.facts for part in fact)):
        assert piece
        assert piece in text
        assert piece in page
    if language == "zh-CN":
        assert not any(word in text for word in ("Receipt", "payment", "Amount", "Paid", "mail "))


def test_everything_that_mails_say_is_translated() -> None:
    fields = {
        node.args[0].value
        for node in ast.walk(ast.parse(getsource(words)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "_"
        and isinstance(node.args[0], ast.Constant)
    }
    path = Path(words.__file__).parent / "translations" / "zh-CN.po"
    with path.open("rb") as file:
        catalogue = {each.id: each.string for each in read_po(file) if each.id}
    assert fields == set(catalogue)
    assert len(fields) > 20
    for english, chinese in catalogue.items():
        assert chinese
        assert placeholders(str(english)) == placeholders(str(chinese))


def placeholders(text: str) -> set[str]:
    return {part.split(")")[0] for part in text.split("%(")[1:]}


@pytest.mark.parametrize(
    ("minor", "currency", "language", "written"),
    [
        (8850, "CNY", "zh-CN", "¥88.50"),
        (8850, "CNY", "en", "CN¥88.50"),
        (1, "CNY", "zh-CN", "¥0.01"),
        (8850, "JPY", "en", "¥8,850"),
        (8850, "KWD", "en", "KWD8.850"),
        (9_007_199_254_740_991, "USD", "en", "$90,071,992,547,409.91"),
    ],
)
def test_amounts_are_written_by_their_currencys_decimals(
    minor: int, currency: str, language: Language, written: str
) -> None:
    assert money(minor, currency, language) == written


def hostile() -> Iterator[str]:
    for break_ in (
        "\r\n",
        "\n",
        "\r",
        "\x0b",
        "\x0c",
        "\x85",
        "\u2028",
        "\u2029",
        "\x00",
        "\r\n\t",
    ):
        for rest in ("Bcc: victim@example.org", "\r\n<script>", ".\r\nMAIL FROM:<x@y.org>"):
            yield f"Water{break_}{rest}"


@pytest.mark.parametrize("name", list(hostile()))
def test_no_name_adds_a_header(name: str) -> None:
    letter = Letter(uuid7(), ISSUED_AT, issued("app", "p"), "payer@example.org", "en", name)
    raw = compose(letter, SENDER, "https://hall.example").as_bytes()
    head = raw.split(b"\r\n\r\n", 1)[0]
    message = message_from_bytes(raw, policy=default)
    assert set(message.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Content-Language", "Auto-Submitted"),
        *("MIME-Version", "Content-Type"),
    }
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize("to", ["a@b.org\r\nBcc: c@d.org", "a@b.org, c@d.org", "a@b.org>\nX: y"])
def test_no_address_adds_a_header(to: str) -> None:
    letter = Letter(uuid7(), ISSUED_AT, issued("app", "p"), to, "en", "Water")
    with pytest.raises(ValueError, match=r".+"):
        compose(letter, SENDER, "https://hall.example")


def test_one_line_keeps_what_people_read() -> None:
    assert one_line(" 杭州\u202e水务 \r\n 集团\u0000 ") == "杭州 水务 集团"
    assert len(NUMBER) == 24

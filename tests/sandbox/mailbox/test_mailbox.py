"""The mail box: takes mail fast, forgets none that it acknowledged, shows it safely, and fails on request."""

import asyncio
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import aiosmtplib
import pytest

from tests.support.mailbox import MailBox


@pytest.fixture
def box(tmp_path: Path) -> Iterator[MailBox]:
    """A mail box of its own."""
    with MailBox(tmp_path / "mailbox") as made:
        yield made


def mail(to: str, subject: str = "缴费回单", page: str | None = None) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "hall@example.org", to, subject
    message["Message-ID"] = "<1@hall.example>"
    message.set_content("您好 <b>\n")
    if page is not None:
        message.add_alternative(page, subtype="html")
    return message.as_bytes()


async def send(box: MailBox, to: str, raw: bytes) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=box.smtp_port, timeout=5) as client:
        await client.sendmail("hall@example.org", [to], raw)


async def test_a_mail_is_told_as_json_and_shown_as_a_page(box: MailBox) -> None:
    page = "<p onclick=x()>您好<script>alert(1)</script></p>"
    await send(box, "a@example.org", mail("a@example.org", "<i>缴费</i>", page))
    body = box.http.get("/messages").json()
    assert body["count"] == 1
    [message] = body["messages"]
    assert message["to"] == "a@example.org"
    assert message["id"] == "<1@hall.example>"
    assert message["subject"] == "<i>缴费</i>"
    assert message["body"].strip() == "您好 <b>"
    assert page in message["html"]
    assert "&lt;i&gt;缴费" in box.http.get("/").text
    shown = box.http.get("/mails/1")
    assert "<iframe sandbox " in shown.text
    assert "您好 &lt;b&gt;" in shown.text
    assert "<script" not in shown.text
    frame = box.http.get("/mails/1/html")
    assert frame.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert box.http.get("/mails/2").status_code == 404


async def test_what_was_acknowledged_survives_kill_and_restart(box: MailBox) -> None:
    for number in range(20):
        await send(box, f"{number}@example.org", mail("x@example.org"))
    box.fail("refuse_5xx", times=2, recipient="z@example.org")
    box.kill()
    box.start()
    assert box.http.get("/messages").json()["count"] == 20
    assert box.http.get("/sandbox/faults").json()["faults"][0]["times"] == 2
    assert box.http.delete("/messages").json() == {"deleted": 20}
    box.stop()
    box.start()
    assert box.http.get("/messages").json() == {"count": 0, "messages": []}


async def test_it_fails_as_asked_and_as_often(box: MailBox) -> None:
    async def code(to: str) -> int:
        try:
            await send(box, to, mail(to))
        except aiosmtplib.SMTPRecipientsRefused as error:
            return error.recipients[0].code
        except aiosmtplib.SMTPServerDisconnected:
            return 0
        return 250

    box.fail("refuse_4xx", times=2, recipient="a@example.org")
    box.fail("refuse_5xx")
    assert [await code("a@example.org") for _ in range(4)] == [450, 450, 550, 250]
    box.fail("drop_before")
    assert await code("b@example.org") == 0
    assert box.mails("b@example.org") == []
    box.fail("drop_after")
    assert await code("b@example.org") == 0
    assert len(box.mails("b@example.org")) == 1
    box.fail("delay", seconds=0.3)
    began = time.monotonic()
    assert await code("b@example.org") == 250
    assert time.monotonic() - began >= 0.3
    report = box.http.get("/sandbox/faults").json()
    assert report["faults"] == []
    assert report["fired"] == {
        "refuse_4xx": 2,
        "refuse_5xx": 1,
        "drop_before": 1,
        "drop_after": 1,
        "delay": 1,
    }


async def test_faults_can_be_taken_back_and_must_be_known(box: MailBox) -> None:
    box.fail("refuse_5xx", times=9)
    assert box.http.delete("/sandbox/faults").json()["faults"] == []
    await send(box, "a@example.org", mail("a@example.org"))
    assert box.http.post("/sandbox/faults", json={"kind": "burn"}).status_code == 422


@pytest.mark.alone
async def test_it_takes_hundreds_of_mails_a_second(box: MailBox) -> None:
    number, connections, raw = 600, 6, mail("a@example.org", page="<p>x</p>\n" * 300)

    async def some() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=box.smtp_port) as client:
            for _ in range(number // connections):
                await client.sendmail("hall@example.org", ["a@example.org"], raw)

    began = time.monotonic()
    await asyncio.gather(*(some() for _ in range(connections)))
    seconds = time.monotonic() - began
    assert box.http.get("/messages", params={"limit": 0}).json()["count"] == number
    # Ten times slower than on an idle machine would still be enough.
    assert number / seconds > 150

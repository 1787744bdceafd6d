"""The operator's commands, run as commands."""

import json
import os
import subprocess
import sys

import pytest

from chassis.http.bearer import TokenRefusedError
from services.notifications.recipients.endpoints import find_endpoint
from services.notifications.recipients.tokens import channel_of
from tests.services.notifications.support import Hall, issued, message_of

RUN = "from services.notifications.cli import commands; commands()"


def run(hall: Hall, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = hall.settings.notifications_database_url.get_secret_value()
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "METERHALL_NOTIFICATIONS_DATABASE_URL": url, "NO_COLOR": "1"},
    )


async def test_a_channel_gets_a_token_and_an_endpoint(hall: Hall) -> None:
    added = run(hall, "channel", "add", "new-app")
    token = added.stdout.strip()
    async with hall.engine.connect() as connection:
        assert await channel_of(connection, token) == "new-app"
    assert run(hall, "endpoint", "set", "new-app", "https://app.example/hook").stdout.startswith(
        "whsec_"
    )
    assert (
        run(hall, "channel", "revoke", token.split("_")[1]).stdout == "revoked a token of new-app\n"
    )
    async with hall.engine.connect() as connection:
        with pytest.raises(TokenRefusedError):
            await channel_of(connection, token)


async def test_the_longest_channel_and_a_loud_scheme_are_kept(hall: Hall) -> None:
    assert run(hall, "channel", "add", "a" * 40).returncode == 0
    url = "HTTPS://App.example/Hook?" + "x" * 1_975
    assert run(hall, "endpoint", "set", "a" * 40, url).stdout.startswith("whsec_")
    async with hall.engine.connect() as connection:
        found = await find_endpoint(connection, "a" * 40)
    assert found
    assert found.url == "https" + url.removeprefix("HTTPS")


@pytest.mark.parametrize(
    "arguments",
    [
        ("channel", "add", "No Such Id"),
        ("channel", "add", "a" * 41),
        ("channel", "add", "\udc80"),  # an argument that is not UTF-8
        ("channel", "revoke", "deadbeef"),
        ("channel", "revoke", "\udc80"),
        ("channel", "revoke", "x" * 5_000),
        ("endpoint", "set", "unknown", "https://app.example/"),
        ("endpoint", "set", "unknown", "http://127.0.0.1/"),
        ("endpoint", "set", "a" * 41, "https://app.example/"),
        ("endpoint", "set", "\udc80", "https://app.example/"),
        ("endpoint", "set", "unknown", "https://\udc80.example/"),
        ("endpoint", "set", "unknown", "https://app.example/" + "x" * 2_000),
        ("retry", "00000000-0000-0000-0000-000000000000"),
    ],
)
async def test_a_mistake_is_one_line_that_says_what_to_do(
    hall: Hall, arguments: tuple[str, ...]
) -> None:
    done = run(hall, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


async def test_what_failed_is_seen_and_sent_again(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    hall.mailbox.fail("refuse_5xx", recipient=email)
    await hall.take(message_of(issued(channel, payer)), message_of(issued(channel, payer)))
    await hall.sender.run_once()
    [wrong] = json.loads(run(hall, "deliveries", "--failed", "--json").stdout)
    assert (wrong["reason"], wrong["attempts"]) == ("smtp_550", 1)
    shown = run(hall, "deliveries").stdout
    assert wrong["id"] in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert run(hall, "retry", wrong["id"]).stdout == "due now\n"
    await hall.sender.run_once()
    assert len(hall.mailbox.mails(email)) == 2
    assert json.loads(run(hall, "deliveries", "--failed", "--json").stdout) == []

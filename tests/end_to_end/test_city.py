"""One bill from lookup to receipt, as a wallet, its user and finance ops see it, and the errors a wallet can make."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer

from chassis.china import CHINA
from events.ids import uuid7
from events.payments import PayBill, PspFunding
from events.topics import DEAD_LETTERS, PAYMENT_COMMANDS, PAYMENT_GROUP
from sandbox.demo import evening
from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import WalletApp, WalletError
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books

PATIENCE_SECONDS = 60.0


async def owed(city: LocalCity, wallet: WalletApp, number: int, biller: int = 0) -> dict[str, Any]:
    """Look up an unpaid bill of one of the city's billers; each test takes its own number."""
    row = city.billers()[biller]
    url = f"{city.home.url('billers')}/sandbox/accounts?owing=true&limit=1000&biller={row['id']}"
    account = city_books.fetch(url)[-1 - number]
    lookup = await wallet.look_up(str(row["id"]), account)
    assert lookup["status"] == "found", lookup
    return {**lookup["bills"][0], "biller_id": row["id"], "account": account}


def payment_of(bill: dict[str, Any], payer: str, **changed: Any) -> dict[str, Any]:
    """Return the request with which a wallet pays this bill."""
    request = {
        "bill_id": bill["id"],
        "payer": payer,
        "amount_minor": amount_for(bill),
        "currency": bill["currency"],
        "funding": {"kind": "psp", "payment_method": "pm_card_visa"},
    }
    return {**request, **changed}


async def ended(wallet: WalletApp, payment_id: UUID) -> dict[str, Any]:
    """Wait until the payment has ended, and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        payment: dict[str, Any] = await wallet.get(f"/v1/payments/{payment_id}")
        if payment["status"] != "processing":
            return payment
        assert time.monotonic() < deadline, payment
        await asyncio.sleep(0.1)


def page(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body of a page, requested with these headers only."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_bill_is_paid_and_its_receipt_verified_and_mailed(
    city: LocalCity, wallet: WalletApp
) -> None:
    await wallet.introduce("happy", "happy@example.com", "zh-CN")
    bill = await owed(city, wallet, 0)
    payment_id = await wallet.pay(payment_of(bill, "happy"))
    paid = await ended(wallet, payment_id)
    assert paid["status"] == "succeeded"
    receipt = await wallet.get(f"/v1/payments/{payment_id}/receipt")
    status, html = page(receipt["verify_url"], **{"Accept-Language": "zh-CN"})
    assert status == 200
    assert receipt["number"] in html
    assert bill["account"] not in html, "only the ending of an account number is shown"
    wrong = receipt["verify_url"][:-1] + ("2" if receipt["verify_url"][-1] != "2" else "3")
    assert page(wrong)[0] == 404
    mail = await _mail_to(city, "happy@example.com")
    assert receipt["verify_url"] in mail["body"]
    shown = json.loads(city.command("payments", "show", str(payment_id), "--json"))
    assert bill["account"] not in json.dumps(shown)


async def test_a_full_refund_takes_the_mark_back_and_voids_the_receipt(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 1)
    payment_id = await wallet.pay(payment_of(bill, "sorry"))
    assert (await ended(wallet, payment_id))["status"] == "succeeded"
    refund_id = await wallet.refund(payment_id)
    assert await wallet.refunded(refund_id) == "succeeded"
    assert (await wallet.get(f"/v1/payments/{payment_id}"))["status"] == "refunded"
    assert (await wallet.get(f"/v1/payments/{payment_id}/receipt"))["state"] == "refunded"
    again = await wallet.look_up(bill["biller_id"], bill["account"])
    assert bill["id"] in {each["id"] for each in again["bills"]}, "it can be paid again"
    with pytest.raises(WalletError, match="409"):
        await wallet.refund(payment_id)


async def test_a_payer_who_must_confirm_is_sent_to_the_psp(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 2)
    funding = {"kind": "psp", "payment_method": "pm_card_threeDSecure2Required"}
    payment_id = await wallet.pay(payment_of(bill, "careful", funding=funding))
    waiting = await ended(wallet, payment_id)
    assert waiting["status"] == "action_required"
    body = b"decision=approve"
    request = urllib.request.Request(waiting["action_url"], data=body, method="POST")
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        assert error.code < 500, "it redirects to the wallet, where no server listens"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (payment := await wallet.get(f"/v1/payments/{payment_id}"))["status"] != "succeeded":
        assert time.monotonic() < deadline, payment
        await asyncio.sleep(0.1)


async def test_each_error_of_a_wallet_has_its_problem_type(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 3)
    wrong: list[tuple[dict[str, Any], str]] = [
        (payment_of(bill, "wrong", bill_id=str(uuid7())), "bill-unknown"),
        (payment_of(bill, "wrong", currency="USD"), "currency-mismatch"),
        (payment_of(bill, "wrong", amount_minor=0), "invalid-request"),
        (payment_of(bill, "wrong", amount_minor=9_000_000_000), "amount-not-allowed"),
        (payment_of(bill, "no spaces, please"), "invalid-request"),
    ]
    for request, slug in wrong:
        with pytest.raises(WalletError, match=f"/problems/{slug}"):
            await wallet.pay(request)
    biller = bill["biller_id"]
    with pytest.raises(WalletError, match="404"):
        await wallet.look_up("no-such-biller", bill["account"])
    with pytest.raises(WalletError, match="422"):
        await wallet.look_up(biller, "not an account number")
    unknown = "".join("9" if char.isdigit() else char for char in bill["account"])
    assert (await wallet.look_up(biller, unknown))["status"] == "no_such_account"
    paid = await wallet.pay(payment_of(bill, "wrong"))
    assert (await ended(wallet, paid))["status"] == "succeeded"
    with pytest.raises(WalletError, match=r"bill-already-paid|bill-closed"):
        await wallet.pay(payment_of(bill, "wrong"))


async def test_keys_open_only_their_own_channel_and_stop_when_revoked(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 4)
    payment_id = await wallet.pay(payment_of(bill, "mine"))
    other = f"other-{uuid4().hex[:8]}"
    city.command("channels", "create", other, "Another wallet")
    key = city.command("channels", "issue-key", other).split()[-1]
    url = f"{city.home.url('web')}/v1/payments/{payment_id}"
    assert page(url, Authorization=f"Bearer {key}")[0] == 404
    assert page(url)[0] == 401
    own = f"{city.home.url('web')}/v1/payments"
    assert page(own, Authorization=f"Bearer {key}")[0] == 200
    city.command("channels", "revoke-key", key)
    deadline = time.monotonic() + 60
    while page(own, Authorization=f"Bearer {key}")[0] != 401:
        assert time.monotonic() < deadline, "a revoked key stops within two seconds"
        await asyncio.sleep(0.1)


async def test_bad_records_become_dead_letters_and_good_ones_are_handled(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 5)
    good = PayBill(
        payment_id=uuid7(),
        channel=CHANNEL,
        payer="kafka",
        bill_id=UUID(bill["id"]),
        amount_minor=amount_for(bill),
        currency=bill["currency"],
        funding=PspFunding(payment_method="pm_card_visa"),
    )
    mark = uuid4().hex
    ce_type = [("ce_type", b"meterhall.PayBill.v1"), ("ce_id", str(uuid7()).encode())]
    bad: list[tuple[bytes | None, list[tuple[str, bytes]]]] = [
        (b"not json", ce_type),
        (b"{}", [("ce_type", b"\xff\xfe"), ("ce_id", b"1")]),
        (b"{}", [("ce_type", b"meterhall.NoSuchThing.v1"), ("ce_id", b"1")]),
        (None, ce_type),
        (b"x" * 950_000, ce_type),
    ]
    producer = AIOKafkaProducer(
        bootstrap_servers=city.environment["METERHALL_KAFKA"], max_request_size=1_040_000
    )
    await producer.start()
    for value, headers in bad:
        await producer.send_and_wait(PAYMENT_COMMANDS.name, value, mark.encode(), headers=headers)
    await producer.stop()
    await wallet.send(good)
    reused = good.model_copy(update={"payer": "somebody-else"})
    await wallet.send(reused)
    deadline = time.monotonic() + PATIENCE_SECONDS
    topic = DEAD_LETTERS[PAYMENT_COMMANDS.name, PAYMENT_GROUP]
    while True:
        rows = await city_books.query(
            city,
            f"SELECT key FROM outbox WHERE topic = {topic.code}"
            f" AND key IN ('{mark}', '{good.payment_id}')",
        )
        if len(rows) == len(bad) + 1:
            break
        assert time.monotonic() < deadline, f"{len(rows)} of {len(bad) + 1} dead letters"
        await asyncio.sleep(0.2)
    known = await city_books.payments(city)
    assert known[good.payment_id].state in {"accepted", "authorized", "succeeded"}
    listed = city.command("dead-letters", "list", "--json")
    assert "id_reused" in listed


async def test_a_webhook_with_a_bad_signature_is_refused(city: LocalCity) -> None:
    url = f"{city.home.url('web')}/v1/psp/webhooks"
    for signature in ("", "t=1,v1=00", f"t={int(time.time())},v1={'0' * 64}"):
        request = urllib.request.Request(
            url, data=b"{}", method="POST", headers={"Stripe-Signature": signature}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 400
        assert json.load(refused.value)["type"] == "/problems/bad-signature"


async def test_a_catalogue_file_with_bad_lines_changes_nothing_and_reports_each(
    city: LocalCity, tmp_path: Path
) -> None:
    before = city.command("catalog", "show", "--json")
    file = tmp_path / "bad.jsonl"
    file.write_text('{"kind":"biller","id":"Not A Slug"}\nnot json\n{"kind":"service","id":"x"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "services.billing.cli", "catalog", "import", str(file)],
        env={**city.environment, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert all(f"line {number}" in done.stdout + done.stderr for number in (1, 2, 3))
    assert city.command("catalog", "show", "--json") == before


async def test_the_day_reconciles_without_a_break(city: LocalCity) -> None:
    began = datetime.now(CHINA) - timedelta(minutes=10)
    for day in evening.days_since(began):
        result = evening.close(city, day, lambda _: None)
        assert sum(source["breaks"] for source in result["sources"]) == 0, result
        assert json.loads(city.command("reconcile", f"{day}", "--json")) == result
    assert sum(source["matched"] for source in result["sources"]) > 0
    assert await city_books.disagreements(city) == []


async def _mail_to(city: LocalCity, address: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        messages: list[dict[str, Any]] = city_books.fetch(f"{city.home.url('mailbox')}/messages")[
            "messages"
        ]
        for message in messages:
            if address in json.dumps(message["to"]):
                return message
        assert time.monotonic() < deadline, f"no mail to {address}"
        await asyncio.sleep(0.2)

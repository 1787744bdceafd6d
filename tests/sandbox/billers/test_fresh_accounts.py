"""The same seed makes the same city, and what was answered survives a power cut."""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sandbox.billers.biller_book import BillerBook, BillerReply, BillerRequest, IssuedBill, allows
from sandbox.billers.biller_faults import spoiled
from sandbox.billers.biller_list import BILLERS, BY_ID
from sandbox.billers.biller_store import BillerStore
from sandbox.billers.fresh_accounts import OtherSeedError, make_accounts
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import Applied, BillerRefused, Found, Unapplied
from tests.services.billing.bills.connectors.conftest import Customer, speaker
from tests.support.billers import SandboxBillers


def founded(folder: Path, seed: int, accounts_per_biller: int = 30) -> BillerStore:
    store = BillerStore(folder)
    make_accounts(store, seed, accounts_per_biller)
    return store


def everything(store: BillerStore) -> list[object]:
    return [store.query(f"SELECT * FROM {table}") for table in ("accounts", "bills")]


def test_the_same_seed_makes_the_same_city(tmp_path: Path) -> None:
    first = everything(founded(tmp_path / "a", 7))
    assert everything(founded(tmp_path / "b", 7)) == first
    assert everything(founded(tmp_path / "c", 8)) != first


def test_account_numbers_fit_the_pattern_and_bills_their_rule(tmp_path: Path) -> None:
    store = founded(tmp_path, 7, 200)
    for biller, number in store.query("SELECT biller, account_number FROM accounts"):
        assert re.search(BY_ID[biller].pattern, number)
    fields = ", ".join(IssuedBill.__dataclass_fields__)
    bills = [IssuedBill(*row) for row in store.query(f"SELECT {fields} FROM bills")]
    assert {each.rule for each in bills} == {each.rule for each in BILLERS}
    assert all(allows(each, each.amount_minor) for each in bills)


def test_most_accounts_owe_one_bill_and_some_nothing(tmp_path: Path) -> None:
    store = founded(tmp_path, 7, 200)
    counted = store.query("""
        SELECT owed, count(*) FROM (SELECT count(b.bill_number) AS owed FROM accounts a LEFT JOIN bills b
            ON (b.biller, b.account_number) = (a.biller, a.account_number) GROUP BY a.biller, a.account_number)
        GROUP BY owed ORDER BY owed
    """)
    share = {owed: count / (200 * len(BILLERS)) for owed, count in counted}
    assert share.keys() == {0, 1, 2}
    assert 0.05 < share[0] < 0.15
    assert share[1] > 0.5


def test_another_seed_is_not_mixed_in(tmp_path: Path) -> None:
    founded(tmp_path, 7).close()
    founded(tmp_path, 7).close()
    with pytest.raises(OtherSeedError, match="--seed 7"):
        founded(tmp_path, 8)


@pytest.mark.parametrize(
    ("rule", "terms", "allowed", "refused"),
    [
        ("exact", (None, None, None), [100], [99, 101, 0, -100]),
        ("at_least", (None, None, None), [100, 101, 10_000], [99, 0]),
        ("at_most", (10, None, None), [10, 100], [9, 101, 0]),
        ("range", (50, 200, None), [50, 100, 200], [49, 201]),
        ("any", (10, 1_000, None), [10, 77, 1_000], [9, 1_001, 0]),
        ("any", (10, 1_000, 10), [10, 770], [15, 5, 1_010]),
    ],
)
def test_amount_rules(
    rule: str, terms: tuple[int | None, ...], allowed: list[int], refused: list[int]
) -> None:
    bill = IssuedBill("b", "2026-10", 100, rule, *terms, due_on=None, expires_at=0)  # type: ignore[misc,arg-type]
    assert [amount for amount in allowed + refused if allows(bill, amount)] == allowed


def test_an_applied_bill_of_any_rule_is_paid(tmp_path: Path) -> None:
    store = founded(tmp_path, 7)
    book = BillerBook(store)
    for institution in BILLERS:
        found = store.query(
            "SELECT account_number, bill_number, amount_minor FROM bills WHERE biller = ? LIMIT 1",
            institution.id,
        )
        account, bill, amount = found[0]
        request = BillerRequest(institution.id, "apply", account, bill, "serial", amount)
        assert book.answer(request).status == "OK"
        again = BillerRequest(institution.id, "apply", account, bill, "another", amount)
        assert book.answer(again).code == "bill_already_paid"
    assert len(book.lines()) == len(BILLERS)


def test_what_is_known_of_a_serial_is_named_and_a_wrong_echo_spoils_it(tmp_path: Path) -> None:
    store = founded(tmp_path, 7)
    book, biller = BillerBook(store), "hz-water"
    account, bill, amount = store.query(
        "SELECT account_number, bill_number, amount_minor FROM bills WHERE biller = ? LIMIT 1",
        biller,
    )[0]
    assert book.answer(BillerRequest(biller, "query", serial="s")) == BillerReply(
        "NOT_APPLIED", serial="s"
    )
    book.answer(BillerRequest(biller, "apply", account, bill, "s", amount))
    for operation, status in (("query", "OK"), ("unapply", "UNAPPLIED"), ("query", "UNAPPLIED")):
        reply = book.answer(BillerRequest(biller, operation, serial="s"))
        wrong = spoiled(reply)
        assert reply.status == wrong.status == status
        names = ("account_number", "serial", "bill_number", "amount_minor", "currency")
        assert [getattr(reply, name) for name in names] == [account, "s", bill, amount, "CNY"]
        assert all(getattr(reply, name) != getattr(wrong, name) for name in names)


async def test_what_was_answered_survives_a_power_cut(tmp_path: Path) -> None:
    before, after = HttpClient(), HttpClient()
    with SandboxBillers(tmp_path, seed=5, accounts_per_biller=20) as own:
        connector = speaker(own, before, "bj-water")
        accounts = own.accounts("bj-water")
        found = await connector.lookup(accounts[0])
        assert isinstance(found, Found)
        who = Customer(connector, accounts[0], found.bills[0])
        application = who.application()
        first = await connector.apply(application)
        blocked = who.application(serial=uuid.uuid4().hex)
        assert await connector.unapply(blocked) == Unapplied()
        own.add_fault("bj-water", "query", "down", times=1)
        own.kill()
        own.start()
        connector = speaker(own, after, "bj-water")
        assert isinstance(first, Applied)
        assert await connector.apply(application) == first
        assert await connector.apply(blocked) == BillerRefused("serial_unapplied")
        assert [line["serial"] for line in own.book()] == [application.serial]
        assert own.accounts("bj-water") == accounts[len(found.bills) == 1 :]
        await connector.query(application)
        assert own.fired() == {"bj-water:query:down": 1}
    await before.aclose()
    await after.aclose()


def test_it_does_not_start_without_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"hz-water": "x"}))
    command = [sys.executable, "-m", "sandbox.billers", "--port", "0", "--secrets", str(secrets)]
    command += ["--state", str(tmp_path), "--data-dir", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 1
    assert b"no secret for north-power" in done.stderr

"""The evening: statements are imported, every book is compared with ours, and the result of the day is printed."""

import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from chassis.china import day_of, today
from chassis.output import money, table
from sandbox.demo.day import DemoOutcome
from sandbox.local.ports import NotReadyError
from sandbox.local_city import LocalCity


def days_since(began: datetime) -> list[date]:
    """Return the days of the demo: two, when it ran over midnight in China."""
    first, last = day_of(began), today()
    return [first] if first == last else [first, last]


def close(city: LocalCity, day: date, tell: Callable[[str], None]) -> dict[str, Any]:
    """Import all statements of the day and reconcile; return the result of `meterhall reconcile --json`."""
    tell("billers that work by file get our day file and answer")
    city.command("statements", "report", f"{day}")
    _post(f"{city.home.url('billers')}/sandbox/file-billers/answer?day={day:%Y%m%d}")
    tell("statements of the PSP and of every biller are imported")
    city.command("statements", "import", f"{day}")
    tell("the ledger is compared with them, item by item")
    result: dict[str, Any] = json.loads(city.command("reconcile", f"{day}", "--json"))
    return result


def mails(city: LocalCity) -> int:
    """Return the number of messages in the mail box."""
    with urllib.request.urlopen(f"{city.home.url('mailbox')}/messages?limit=1") as answer:
        return int(json.load(answer)["count"])


def report(city: LocalCity, outcome: DemoOutcome, results: list[dict[str, Any]]) -> None:
    """Print the result of the day. Raises NotReadyError when something does not agree."""
    _print_payments(outcome)
    unbalanced = _print_money(city)
    breaks = _print_reconciliation(results)
    statuses = Counter(p["status"] for p in outcome.payments)
    succeeded = statuses["succeeded"] + statuses["refunded"]
    example = next(each for each in outcome.receipts if each["state"] == "valid")
    copy = _copy(city, example["verify_url"])
    found = mails(city)
    print(f"Receipts: {len(outcome.receipts)} for {succeeded} payments that succeeded")
    print(f"Mails: {found} in the mail box, {outcome.mails} expected")
    print(f"A receipt: {example['verify_url']}\n  a copy that stays: {copy}")
    city.command("audit")
    wrong = {
        f"{breaks} breaks": breaks,
        "the trial balance is not zero": unbalanced,
        "receipts and payments differ": len(outcome.receipts) != succeeded,
        "mails are missing or doubled": found != outcome.mails,
    }
    if any(wrong.values()):
        faults = ", ".join(what for what, holds in wrong.items() if holds)
        raise NotReadyError(f"The books do not agree: {faults}")
    print("All books agree, and every invariant holds.")


def _print_payments(outcome: DemoOutcome) -> None:
    failed = [p for p in outcome.payments if p["status"] == "failed"]
    counted = (
        ("", Counter(p["status"] for p in outcome.payments)),
        ("  by ", outcome.by_door),
        ("  failed: ", Counter(p["reason"] for p in failed)),
        ("refunds: ", outcome.refunds),
        ("lookups: ", outcome.lookups),
    )
    rows = [(f"{of}{what}", count) for of, each in counted for what, count in sorted(each.items())]
    table(f"Payments: {len(outcome.payments)}", ("what", "how many>"), rows)


def _print_money(city: LocalCity) -> bool:
    books = json.loads(city.command("ledger", "trial-balance", "--json"))
    sums: Counter[str] = Counter()
    rows = []
    for line in books["rows"]:
        sums[line["currency"]] += line["balance_minor"]
        rows.append((line["account"], money(line["balance_minor"], line["currency"])))
    rows += [(f"sum of all {currency}", money(total, currency)) for currency, total in sums.items()]
    table("Money, by ledger account", ("account", "balance>"), rows)
    return any(sums.values())


def _print_reconciliation(results: list[dict[str, Any]]) -> int:
    sources = [(result["day"], each) for result in results for each in result["sources"]]
    table(
        "Reconciled with the PSP and the billers",
        ("source", "day", "lines>", "matched>", "breaks>"),
        [
            (each["source"], day, each["lines"], each["matched"], each["breaks"])
            for day, each in sources
        ],
    )
    return sum(each["breaks"] for _, each in sources)


def _copy(city: LocalCity, url: str) -> Path:
    path = city.home.folder / "receipt.html"
    request = urllib.request.Request(url, headers={"Accept-Language": "zh-CN"})
    with urllib.request.urlopen(request) as answer:
        path.write_bytes(answer.read())
    return path


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120):
        pass

"""The evening: statements come in, every book is compared with ours, and what came of the day is told."""

import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sandbox.city import CHINA, City
from sandbox.demo.day import Outcome
from sandbox.ports import NotReadyError


def days_since(began: datetime) -> list[date]:
    """The days of the books that the demo touched: two, when it ran over midnight in China."""
    first, last = (at.astimezone(CHINA).date() for at in (began, datetime.now(UTC)))
    return [first] if first == last else [first, last]


def close(city: City, day: date, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fetch everybody's statements of the day and reconcile; the result as `meterhall reconcile --json` tells it."""
    tell("billers that work by file get our day file and answer")
    city.command("statements", "report", f"{day}")
    _post(f"{city.home.url('billers')}/sandbox/file-billers/answer?day={day:%Y%m%d}")
    tell("statements of the PSP and of every biller are imported")
    city.command("statements", "import", f"{day}")
    tell("the ledger is compared with them, item by item")
    result: dict[str, Any] = json.loads(city.command("reconcile", f"{day}", "--json"))
    return result


def mails(city: City) -> int:
    """How many messages lie in the mail box."""
    with urllib.request.urlopen(f"{city.home.url('mailbox')}/messages?limit=1") as answer:
        return int(json.load(answer)["count"])


def report(city: City, outcome: Outcome, results: list[dict[str, Any]]) -> None:
    """Print what happened; raises NotReadyError when something does not agree."""
    from chassis.output import money, table

    statuses = Counter(p["status"] for p in outcome.payments)
    told = [(status, count) for status, count in sorted(statuses.items())]
    told += [(f"  by {door}", count) for door, count in sorted(outcome.by_door.items())]
    reasons = Counter(p["reason"] for p in outcome.payments if p["status"] == "failed")
    told += [(f"  failed: {reason}", count) for reason, count in sorted(reasons.items())]
    told += [(f"refunds: {kind}", count) for kind, count in sorted(outcome.refunds.items())]
    told += [(f"lookups: {status}", count) for status, count in sorted(outcome.lookups.items())]
    table(f"Payments: {len(outcome.payments)}", ("what", "how many>"), told)

    books = json.loads(city.command("ledger", "trial-balance", "--json"))
    rows = [
        (line["account"], money(line["balance_minor"], line["currency"])) for line in books["rows"]
    ]
    sums: Counter[str] = Counter()
    for line in books["rows"]:
        sums[line["currency"]] += line["balance_minor"]
    rows += [(f"sum of all {currency}", money(total, currency)) for currency, total in sums.items()]
    table("Money, by ledger account", ("account", "balance>"), rows)

    table(
        "Reconciled with the PSP and the billers",
        ("source", "day", "lines>", "matched>", "breaks>"),
        [
            (each["source"], result["day"], each["lines"], each["matched"], each["breaks"])
            for result in results
            for each in result["sources"]
        ],
    )
    succeeded = statuses["succeeded"] + statuses["refunded"]
    example = next(each for each in outcome.receipts if each["state"] == "valid")
    copy = _copy(city, example["verify_url"])
    found = mails(city)
    print(f"Receipts: {len(outcome.receipts)} for {succeeded} payments that succeeded")
    print(f"Mails: {found} in the mail box, {outcome.mails} expected")
    print(f"A receipt: {example['verify_url']}\n  a copy that stays: {copy}")
    breaks = sum(each["breaks"] for result in results for each in result["sources"])
    wrong = [
        f"{breaks} breaks" if breaks else "",
        "the trial balance is not zero" if any(sums.values()) else "",
        "receipts and payments differ" if len(outcome.receipts) != succeeded else "",
        "mails are missing or doubled" if found != outcome.mails else "",
    ]
    if any(wrong):
        raise NotReadyError(f"The books do not agree: {', '.join(filter(None, wrong))}")
    print("All books agree.")


def _copy(city: City, url: str) -> Path:
    path = city.home.folder / "receipt.html"
    request = urllib.request.Request(url, headers={"Accept-Language": "zh-CN"})
    with urllib.request.urlopen(request) as answer:
        path.write_bytes(answer.read())
    return path


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120):
        pass

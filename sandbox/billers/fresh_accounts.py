"""The accounts and bills of a fresh sandbox: numbers and amounts come from the seed, dates from the day it begins.

One account in ten owes nothing, two in three owe one bill, the others two. The amount that a bill states
may always be paid.
"""

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from chassis.china import CHINA
from sandbox.billers.biller_list import BILLERS, SandboxBiller, account_number
from sandbox.billers.biller_store import BillerStore

INSERT_BILL = """
    INSERT INTO bills (biller, bill_number, account_number, period, amount_minor, rule, min_minor, max_minor,
        multiple_minor, due_on, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# The smallest and the largest ordinary bill, in minor units.
_AMOUNTS = {"heating": (60_000, 320_000), "electricity": (3_000, 48_000)}
_OTHER_AMOUNTS = (1_200, 18_000)
# A statement stays good for a while after it is due: late payers pay, too.
_GRACE = timedelta(days=30)


class OtherSeedError(Exception):
    """This state was made from another seed."""


def make_accounts(store: BillerStore, seed: int, accounts_per_biller: int) -> None:
    """Make accounts and bills, once; afterwards only check that it is the same city. Raises OtherSeedError."""
    before = store.setting("seed", "")
    if before:
        if before != str(seed):
            raise OtherSeedError(f"this state was made from --seed {before}")
        return
    today = datetime.fromtimestamp(store.now(), CHINA).date()
    for institution in BILLERS:
        dice = random.Random(f"{seed}:{institution.id}")
        numbers: dict[str, None] = {}
        while len(numbers) < accounts_per_biller:
            numbers[account_number(institution, dice)] = None
        accounts = [(institution.id, number, place) for place, number in enumerate(numbers)]
        store.execute_all("INSERT INTO accounts VALUES (?, ?, ?)", accounts)
        store.execute_all(INSERT_BILL, _bills(institution, list(numbers), today, dice))
    store.set_setting("seed", str(seed))
    store.commit()


def terms(
    institution: SandboxBiller, amount_minor: int
) -> tuple[int | None, int | None, int | None]:
    """min, max and multiple for a bill of this amount, by the institution's rule."""
    multiple = institution.multiple_minor
    match institution.rule:
        case "at_most":
            return 100, None, multiple
        case "range":
            return amount_minor // 2, amount_minor * 2, multiple
        case "any":
            return multiple or 1_000, 1_000_000, multiple
    return None, None, multiple


def _bills(
    institution: SandboxBiller, numbers: list[str], today: date, dice: random.Random
) -> Iterator[tuple[Any, ...]]:
    serial = 0
    for number in numbers:
        owed = dice.choices((0, 1, 2), weights=(10, 65, 25))[0]
        for months_ago in range(1, owed + 1):
            serial += 1
            amount_minor = _amount(institution, dice)
            due_on = today + timedelta(days=dice.randint(12, 30) - 11 * (months_ago - 1))
            yield (
                institution.id,
                f"{institution.id.upper()}-{serial:07d}",
                number,
                _period(today, months_ago),
                amount_minor,
                institution.rule,
                *terms(institution, amount_minor),
                due_on.isoformat(),
                _end_of(due_on + _GRACE),
            )


def _amount(institution: SandboxBiller, dice: random.Random) -> int:
    if institution.multiple_minor:
        return institution.multiple_minor * dice.randint(1, 20)
    low, high = _AMOUNTS.get(institution.category, _OTHER_AMOUNTS)
    return dice.randint(low, high)


def _period(today: date, months_ago: int) -> str:
    months = today.year * 12 + today.month - 1 - months_ago
    return f"{months // 12}-{months % 12 + 1:02d}"


def _end_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=CHINA).timestamp())

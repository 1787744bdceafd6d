"""What every biller does, whatever its dialect: lookup, apply, query, unapply, and its list of a day.

The serial is the idempotency key: the same content again brings the same answer, other content is refused. A bill is
paid by one apply, whatever part its rule allowed. An unapply of a serial that was never seen succeeds and blocks the
late original.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.billers.store import Store, day_of

# Every biller of the city is paid in it.
CURRENCY = "CNY"
_BILL = "bill_number, period, amount_minor, rule, min_minor, max_minor, multiple_minor, due_on, expires_at"


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill as the biller keeps it; `expires_at` in Unix seconds, `due_on` as 2026-11-30."""

    bill_number: str
    period: str
    amount_minor: int
    rule: str
    min_minor: int | None
    max_minor: int | None
    multiple_minor: int | None
    due_on: str | None
    expires_at: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. A day file's lines say when they happened (`at`) and which day's book they belong to (`day`,
    YYYYMMDD); to everybody else now and today are meant, and `day` only names the list that is wanted."""

    biller: str
    operation: str
    account_number: str = ""
    bill_number: str = ""
    serial: str = ""
    amount_minor: int = 0
    day: str = ""
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `status` is OK, NO_ACCOUNT, NOT_APPLIED, UNAPPLIED, or REFUSED with a `code`. It names again what was
    asked: the account of a lookup, the serial of everything else; and what is known under the serial: the account, the
    bill and the amount."""

    status: str
    code: str = ""
    account_number: str = ""
    serial: str = ""
    bill_number: str = ""
    amount_minor: int | None = None
    currency: str = ""
    reference: str = ""
    bills: Sequence[Bill] = ()


class Serial(NamedTuple):
    """What was done under a serial. Only `unapplied_at` is known of one that was unapplied before any apply."""

    account_number: str
    bill_number: str
    amount_minor: int
    reference: str
    applied_at: int
    unapplied_at: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the book."""

    number: int
    biller: str
    kind: str
    serial: str
    bill_number: str
    amount_minor: int
    at: int


class Desk:
    """All counters of all billers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations: dict[str, Callable[[Asked], Reply]] = {
            "lookup": self._lookup,
            "apply": self._apply,
            "query": self._query,
            "unapply": self._unapply,
        }

    def answer(self, asked: Asked) -> Reply:
        """Do what is asked."""
        return self._operations[asked.operation](asked)

    def lines(self, biller: str | None = None, day: str | None = None) -> list[Line]:
        """The book, oldest first: of one biller, of one day, or all of it."""
        asked = {"biller = ?": biller, "day = ?": day}
        where = [name for name, value in asked.items() if value is not None] or ["true"]
        rows = self._store.query(
            "SELECT number, biller, kind, serial, bill_number, amount_minor, at FROM book"  # noqa: S608 - fixed words
            f" WHERE {' AND '.join(where)} ORDER BY number",
            *(value for value in asked.values() if value is not None),
        )
        return [Line(*row) for row in rows]

    def _lookup(self, asked: Asked) -> Reply:
        owed = self._store.query(
            f"SELECT {_BILL} FROM bills WHERE biller = ? AND account_number = ? AND paid_by IS NULL"  # noqa: S608
            " AND expires_at > ? ORDER BY period, bill_number",
            asked.biller,
            asked.account_number,
            self._store.now(),
        )
        if owed:
            bills = [Bill(*row) for row in owed]
            return Reply("OK", account_number=asked.account_number, bills=bills)
        known = self._store.query(
            "SELECT 1 FROM accounts WHERE biller = ? AND account_number = ?",
            asked.biller,
            asked.account_number,
        )
        return Reply("OK" if known else "NO_ACCOUNT", account_number=asked.account_number)

    def _apply(self, asked: Asked) -> Reply:
        before = self._serial(asked)
        if before:
            return self._again(asked, before)
        objection = self._objection(asked)
        if objection:
            return Reply("REFUSED", objection, serial=asked.serial)
        at = self._store.now() if asked.at is None else asked.at
        reference = _reference(asked)
        self._store.execute(
            "INSERT INTO serials VALUES (?, ?, ?, ?, ?, ?, NULL)",
            *(asked.biller, asked.serial, asked.bill_number, asked.amount_minor, reference, at),
        )
        self._pay(asked.biller, asked.bill_number, asked.serial)
        self._book(asked, "apply", asked.bill_number, asked.amount_minor, at)
        return _known("OK", asked.serial, self._serial(asked))

    def _again(self, asked: Asked, before: Serial) -> Reply:
        if before.unapplied_at is not None:
            return Reply("REFUSED", "serial_unapplied", serial=asked.serial)
        if (before.bill_number, before.amount_minor) != (asked.bill_number, asked.amount_minor):
            return Reply("REFUSED", "serial_reused", serial=asked.serial)
        return _known("OK", asked.serial, before)

    def _objection(self, asked: Asked) -> str | None:
        found = self._store.query(
            f"SELECT paid_by, account_number, {_BILL} FROM bills WHERE biller = ? AND bill_number = ?",  # noqa: S608
            asked.biller,
            asked.bill_number,
        )
        # A day file does not name the account.
        if not found or asked.account_number not in {"", found[0][1]}:
            return "bill_not_found"
        bill = Bill(*found[0][2:])
        if found[0][0] is not None:
            return "bill_already_paid"
        if bill.expires_at <= (self._store.now() if asked.at is None else asked.at):
            return "bill_expired"
        return None if allows(bill, asked.amount_minor) else "amount_refused"

    def _query(self, asked: Asked) -> Reply:
        known = self._serial(asked)
        if not known:
            return Reply("NOT_APPLIED", serial=asked.serial)
        status = "OK" if known.unapplied_at is None else "UNAPPLIED"
        return _known(status, asked.serial, known)

    def _unapply(self, asked: Asked) -> Reply:
        at = self._store.now() if asked.at is None else asked.at
        known = self._serial(asked)
        if not known:
            self._store.execute(
                "INSERT INTO serials VALUES (?, ?, NULL, NULL, NULL, NULL, ?)",
                *(asked.biller, asked.serial, at),
            )
            return Reply("UNAPPLIED", serial=asked.serial)
        if known.unapplied_at is not None:
            return _known("UNAPPLIED", asked.serial, known)
        if day_of(known.applied_at) != day_of(at):
            # The day is closed and has gone to accounting.
            return Reply("REFUSED", "not_same_day", serial=asked.serial)
        self._store.execute(
            "UPDATE serials SET unapplied_at = ? WHERE biller = ? AND serial = ?",
            *(at, asked.biller, asked.serial),
        )
        self._pay(asked.biller, known.bill_number, None)
        self._book(asked, "unapply", known.bill_number, known.amount_minor, at)
        return _known("UNAPPLIED", asked.serial, known)

    def _serial(self, asked: Asked) -> Serial | None:
        found = self._store.query(
            "SELECT b.account_number, s.bill_number, s.amount_minor, s.reference, s.applied_at, s.unapplied_at"
            " FROM serials s LEFT JOIN bills b USING (biller, bill_number) WHERE s.biller = ? AND s.serial = ?",
            asked.biller,
            asked.serial,
        )
        return Serial(*found[0]) if found else None

    def _pay(self, biller: str, bill_number: str, serial: str | None) -> None:
        self._store.execute(
            "UPDATE bills SET paid_by = ? WHERE biller = ? AND bill_number = ?",
            *(serial, biller, bill_number),
        )

    def _book(self, asked: Asked, kind: str, bill_number: str, amount_minor: int, at: int) -> None:
        self._store.execute(
            "INSERT INTO book (biller, day, kind, serial, bill_number, amount_minor, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(asked.biller, asked.day or day_of(at), kind, asked.serial),
            *(bill_number, amount_minor, at),
        )


def allows(bill: Bill, amount_minor: int) -> bool:
    """Whether the bill may be paid with this amount."""
    if amount_minor <= 0 or amount_minor % (bill.multiple_minor or 1):
        return False
    low, high = bill.min_minor or 1, bill.max_minor or amount_minor
    match bill.rule:
        case "exact":
            low = high = bill.amount_minor
        case "at_least":
            low = max(low, bill.amount_minor)
        case "at_most":
            high = min(high, bill.amount_minor)
    return low <= amount_minor <= high


def _known(status: str, serial: str, known: Serial | None) -> Reply:
    if known is None or not known.bill_number:
        return Reply(status, serial=serial)
    return Reply(
        status,
        account_number=known.account_number,
        serial=serial,
        bill_number=known.bill_number,
        amount_minor=known.amount_minor,
        currency=CURRENCY,
        reference=known.reference,
    )


def _reference(asked: Asked) -> str:
    named = f"{asked.biller}:{asked.serial}".encode()
    return f"R{hashlib.sha256(named).hexdigest()[:15].upper()}"

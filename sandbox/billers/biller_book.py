"""The behaviour of every biller, whatever its dialect: lookup, apply, query, unapply, and its list of a day.

The serial is the idempotency key: the same content again brings the same answer, other content is refused. A bill is
paid by one apply, whatever part its rule allowed. An unapply of a serial that was never seen succeeds and blocks the
late original.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.billers.biller_store import BillerStore
from sandbox.china_time import day_of

# Every biller of the city is paid in it.
CURRENCY = "CNY"
_BILL = "bill_number, period, amount_minor, rule, min_minor, max_minor, multiple_minor, due_on, expires_at"


@dataclass(frozen=True, slots=True)
class IssuedBill:
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
class BillerRequest:
    """One request to a biller. A day file's lines say when they happened (`at`) and which day's book they belong to
    (`day`, YYYYMMDD); in every other request now and today are meant, and `day` only names the list that is wanted."""

    biller: str
    operation: str
    account_number: str = ""
    bill_number: str = ""
    serial: str = ""
    amount_minor: int = 0
    day: str = ""
    at: int | None = None


@dataclass(frozen=True, slots=True)
class BillerReply:
    """A biller's reply. `status` is OK, NO_ACCOUNT, NOT_APPLIED, UNAPPLIED, or REFUSED with a `code`. It repeats the
    account of a lookup, and the serial of every other request with what is known under it: account, bill and amount."""

    status: str
    code: str = ""
    account_number: str = ""
    serial: str = ""
    bill_number: str = ""
    amount_minor: int | None = None
    currency: str = ""
    reference: str = ""
    bills: Sequence[IssuedBill] = ()


class Serial(NamedTuple):
    """The state of a serial. When it was unapplied before any apply, only `unapplied_at` is known."""

    account_number: str
    bill_number: str
    amount_minor: int
    reference: str
    applied_at: int
    unapplied_at: int | None


@dataclass(frozen=True, slots=True)
class BookLine:
    """One line of the book."""

    number: int
    biller: str
    kind: str
    serial: str
    bill_number: str
    amount_minor: int
    at: int


class BillerBook:
    """All counters of all billers."""

    def __init__(self, store: BillerStore) -> None:
        self._store = store
        self._operations: dict[str, Callable[[BillerRequest], BillerReply]] = {
            "lookup": self._lookup,
            "apply": self._apply,
            "query": self._query,
            "unapply": self._unapply,
        }

    def answer(self, request: BillerRequest) -> BillerReply:
        """Do what the request says."""
        return self._operations[request.operation](request)

    def lines(self, biller: str | None = None, day: str | None = None) -> list[BookLine]:
        """The book, oldest first: of one biller, of one day, or all of it."""
        conditions = {"biller = ?": biller, "day = ?": day}
        where = [name for name, value in conditions.items() if value is not None] or ["true"]
        rows = self._store.query(
            "SELECT number, biller, kind, serial, bill_number, amount_minor, at FROM book"  # noqa: S608 - fixed words
            f" WHERE {' AND '.join(where)} ORDER BY number",
            *(value for value in conditions.values() if value is not None),
        )
        return [BookLine(*row) for row in rows]

    def _lookup(self, request: BillerRequest) -> BillerReply:
        owed = self._store.query(
            f"SELECT {_BILL} FROM bills WHERE biller = ? AND account_number = ? AND paid_by IS NULL"  # noqa: S608
            " AND expires_at > ? ORDER BY period, bill_number",
            request.biller,
            request.account_number,
            self._store.now(),
        )
        if owed:
            bills = [IssuedBill(*row) for row in owed]
            return BillerReply("OK", account_number=request.account_number, bills=bills)
        known = self._store.query(
            "SELECT 1 FROM accounts WHERE biller = ? AND account_number = ?",
            request.biller,
            request.account_number,
        )
        return BillerReply("OK" if known else "NO_ACCOUNT", account_number=request.account_number)

    def _apply(self, request: BillerRequest) -> BillerReply:
        before = self._serial(request)
        if before:
            return self._again(request, before)
        objection = self._objection(request)
        if objection:
            return BillerReply("REFUSED", objection, serial=request.serial)
        at = self._store.now() if request.at is None else request.at
        reference = _reference(request)
        self._store.execute(
            "INSERT INTO serials VALUES (?, ?, ?, ?, ?, ?, NULL)",
            *(
                request.biller,
                request.serial,
                request.bill_number,
                request.amount_minor,
                reference,
                at,
            ),
        )
        self._pay(request.biller, request.bill_number, request.serial)
        self._book(request, "apply", request.bill_number, request.amount_minor, at)
        return _known("OK", request.serial, self._serial(request))

    def _again(self, request: BillerRequest, before: Serial) -> BillerReply:
        if before.unapplied_at is not None:
            return BillerReply("REFUSED", "serial_unapplied", serial=request.serial)
        if (before.bill_number, before.amount_minor) != (request.bill_number, request.amount_minor):
            return BillerReply("REFUSED", "serial_reused", serial=request.serial)
        return _known("OK", request.serial, before)

    def _objection(self, request: BillerRequest) -> str | None:
        found = self._store.query(
            f"SELECT paid_by, account_number, {_BILL} FROM bills WHERE biller = ? AND bill_number = ?",  # noqa: S608
            request.biller,
            request.bill_number,
        )
        # A day file does not name the account.
        if not found or request.account_number not in {"", found[0][1]}:
            return "bill_not_found"
        bill = IssuedBill(*found[0][2:])
        if found[0][0] is not None:
            return "bill_already_paid"
        if bill.expires_at <= (self._store.now() if request.at is None else request.at):
            return "bill_expired"
        return None if allows(bill, request.amount_minor) else "amount_refused"

    def _query(self, request: BillerRequest) -> BillerReply:
        known = self._serial(request)
        if not known:
            return BillerReply("NOT_APPLIED", serial=request.serial)
        status = "OK" if known.unapplied_at is None else "UNAPPLIED"
        return _known(status, request.serial, known)

    def _unapply(self, request: BillerRequest) -> BillerReply:
        at = self._store.now() if request.at is None else request.at
        known = self._serial(request)
        if not known:
            self._store.execute(
                "INSERT INTO serials VALUES (?, ?, NULL, NULL, NULL, NULL, ?)",
                *(request.biller, request.serial, at),
            )
            return BillerReply("UNAPPLIED", serial=request.serial)
        if known.unapplied_at is not None:
            return _known("UNAPPLIED", request.serial, known)
        if day_of(known.applied_at) != day_of(at):
            # The day is closed and has gone to accounting.
            return BillerReply("REFUSED", "not_same_day", serial=request.serial)
        self._store.execute(
            "UPDATE serials SET unapplied_at = ? WHERE biller = ? AND serial = ?",
            *(at, request.biller, request.serial),
        )
        self._pay(request.biller, known.bill_number, None)
        self._book(request, "unapply", known.bill_number, known.amount_minor, at)
        return _known("UNAPPLIED", request.serial, known)

    def _serial(self, request: BillerRequest) -> Serial | None:
        found = self._store.query(
            "SELECT b.account_number, s.bill_number, s.amount_minor, s.reference, s.applied_at, s.unapplied_at"
            " FROM serials s LEFT JOIN bills b USING (biller, bill_number) WHERE s.biller = ? AND s.serial = ?",
            request.biller,
            request.serial,
        )
        return Serial(*found[0]) if found else None

    def _pay(self, biller: str, bill_number: str, serial: str | None) -> None:
        self._store.execute(
            "UPDATE bills SET paid_by = ? WHERE biller = ? AND bill_number = ?",
            *(serial, biller, bill_number),
        )

    def _book(
        self, request: BillerRequest, kind: str, bill_number: str, amount_minor: int, at: int
    ) -> None:
        self._store.execute(
            "INSERT INTO book (biller, day, kind, serial, bill_number, amount_minor, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(request.biller, request.day or day_of(at), kind, request.serial),
            *(bill_number, amount_minor, at),
        )


def allows(bill: IssuedBill, amount_minor: int) -> bool:
    """Return True when the bill may be paid with this amount."""
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


def _known(status: str, serial: str, known: Serial | None) -> BillerReply:
    if known is None or not known.bill_number:
        return BillerReply(status, serial=serial)
    return BillerReply(
        status,
        account_number=known.account_number,
        serial=serial,
        bill_number=known.bill_number,
        amount_minor=known.amount_minor,
        currency=CURRENCY,
        reference=known.reference,
    )


def _reference(request: BillerRequest) -> str:
    named = f"{request.biller}:{request.serial}".encode()
    return f"R{hashlib.sha256(named).hexdigest()[:15].upper()}"

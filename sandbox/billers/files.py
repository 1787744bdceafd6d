"""Billers that work by file: below `<data>/billers/<id>/`, they write `bills/<day>.csv`, read our `outgoing/<day>.txt`
and answer with `incoming/<day>.txt`.

A bills file lists everything that is owed, as services.billing.bills.read_file says: amounts in minor units, empty
where there is none, `due_on` as 2026-11-30, `expires_at` as 2026-12-30T23:59:59+08:00.
"""

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox.billers.biller_book import BillerBook, BillerRequest
from sandbox.billers.biller_list import BILLERS
from sandbox.billers.biller_store import BillerStore
from sandbox.billers.dialects import day_list
from sandbox.china_time import iso
from services.billing.bills.read_file import COLUMNS

BY_FILE = tuple(each.id for each in BILLERS if each.settled_by == "file")


class BadFileError(Exception):
    """Our day file makes no sense to the biller; it books nothing of it."""


class FileBillers:
    """The folders of the billers that work by file."""

    def __init__(self, store: BillerStore, book: BillerBook, data_dir: Path) -> None:
        self._store = store
        self._book = book
        self._folder = data_dir / "billers"

    def hand_out(self, day: str) -> list[Path]:
        """Write the bills file of `day` (YYYYMMDD) for each; complete or not at all."""
        return [
            _write(self._folder / biller / "bills" / f"{day}.csv", self._bills(biller))
            for biller in BY_FILE
        ]

    def answer(self, day: str) -> dict[str, Any]:
        """Book our day file of each biller and write its own list of the day. Tells, by biller, how many lines were
        `booked`, which were `refused` and why, or the `error` for which nothing was done."""
        results: dict[str, Any] = {}
        for biller in BY_FILE:
            file = self._folder / biller / "outgoing" / f"{day}.txt"
            try:
                results[biller] = self._enter(biller, day, file.read_bytes())
            except (OSError, BadFileError) as error:
                results[biller] = {
                    "error": str(error) if file.exists() else "there is no such file"
                }
        return results

    def _enter(self, biller: str, day: str, content: bytes) -> dict[str, Any]:
        lines = _parse(biller, day, content)
        known = {(each.kind, each.serial) for each in self._book.lines(biller, day)}
        booked, refused = 0, []
        for line in lines:
            # Asked for twice is booked once.
            reply = None if (line.operation, line.serial) in known else self._book.answer(line)
            if reply and reply.status == "REFUSED":
                refused.append({"serial": line.serial, "code": reply.code})
            else:
                booked += 1
        self._store.commit()
        own = day_list(self._book.lines(biller, day))
        path = _write(self._folder / biller / "incoming" / f"{day}.txt", own)
        return {"booked": booked, "refused": refused, "file": str(path)}

    def _bills(self, biller: str) -> str:
        rows = self._store.query(
            f"SELECT {', '.join(COLUMNS)} FROM (SELECT *, 'CNY' AS currency FROM bills)"  # noqa: S608 - fixed words
            " WHERE biller = ? AND paid_by IS NULL AND expires_at > ? ORDER BY account_number, period",
            biller,
            self._store.now(),
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            bill = dict(zip(COLUMNS, row, strict=True))
            writer.writerow({**bill, "expires_at": iso(bill["expires_at"])})
        return text.getvalue()


def _parse(biller: str, day: str, content: bytes) -> list[BillerRequest]:
    try:
        first, *rest = content.decode().splitlines()
        count, total = (int(each) for each in first.split("|"))
        lines = [_line(biller, day, row) for row in rest]
    except ValueError as error:
        raise BadFileError(f"not a day file: {error}") from error
    sums = sum(each.amount_minor * (1 if each.operation == "apply" else -1) for each in lines)
    if (count, total) != (len(lines), sums):
        raise BadFileError(f"{count}|{total} is in the header, {len(lines)}|{sums} in the lines")
    return lines


def _line(biller: str, day: str, row: str) -> BillerRequest:
    _, serial, bill_number, amount, kind, at = row.split("|")
    if kind not in {"apply", "unapply"}:
        raise ValueError(kind)
    seconds = int(datetime.fromisoformat(at).timestamp())
    return BillerRequest(biller, kind, "", bill_number, serial, int(amount), day, seconds)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    return partial.rename(path)

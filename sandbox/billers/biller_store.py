"""The billers' storage, in SQLite: accounts, bills, what was applied under which serial, and the book.

Times are Unix seconds.
"""

from pathlib import Path

from sandbox.stand_in.durable_store import DurableStore

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
  biller TEXT NOT NULL, account_number TEXT NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (biller, account_number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bills (
  biller TEXT NOT NULL, bill_number TEXT NOT NULL, account_number TEXT NOT NULL, period TEXT NOT NULL,
  amount_minor INTEGER NOT NULL, rule TEXT NOT NULL, min_minor INTEGER, max_minor INTEGER, multiple_minor INTEGER,
  due_on TEXT, expires_at INTEGER NOT NULL, paid_by TEXT, PRIMARY KEY (biller, bill_number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bills_owed ON bills (biller, account_number) WHERE paid_by IS NULL;
-- A serial that was unapplied before it was ever applied has no bill: it is blocked.
CREATE TABLE IF NOT EXISTS serials (
  biller TEXT NOT NULL, serial TEXT NOT NULL, bill_number TEXT, amount_minor INTEGER, reference TEXT,
  applied_at INTEGER, unapplied_at INTEGER, PRIMARY KEY (biller, serial)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS book (
  number INTEGER PRIMARY KEY, biller TEXT NOT NULL, day TEXT NOT NULL, kind TEXT NOT NULL, serial TEXT NOT NULL,
  bill_number TEXT NOT NULL, amount_minor INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS book_day ON book (biller, day);
"""


class BillerStore(DurableStore):
    """All billers' tables."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "billers", _SCHEMA)

"""The mail box's storage, in SQLite: each mail as it came, once for each of its recipients."""

import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.stand_in.durable_store import DurableStore

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
  number INTEGER PRIMARY KEY AUTOINCREMENT, received_at REAL NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
  raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS mails_recipient ON mails (recipient, number);
"""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail as it came, for one recipient of its envelope. `received_at` is Unix seconds."""

    number: int
    received_at: float
    sender: str
    recipient: str
    raw: bytes


class MailStore(DurableStore):
    """The mails."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "mailbox", _SCHEMA)

    def add(self, sender: str, recipient: str, raw: bytes) -> None:
        """Keep a mail."""
        self.execute(
            "INSERT INTO mails (received_at, sender, recipient, raw) VALUES (?, ?, ?, ?)",
            time.time(),
            sender,
            recipient,
            raw,
        )

    def find(self, number: int) -> StoredMail | None:
        """One mail."""
        rows = self.query("SELECT * FROM mails WHERE number = ?", number)
        return StoredMail(*rows[0]) if rows else None

    def newest(self, recipient: str | None, limit: int) -> tuple[int, list[StoredMail]]:
        """Return the number of mails (for this recipient), and the newest of them."""
        where, values = ("WHERE recipient = ?", [recipient]) if recipient else ("", [])
        count = self.query(f"SELECT count(*) FROM mails {where}", *values)[0][0]  # noqa: S608 - fixed words
        rows = self.query(
            f"SELECT * FROM mails {where} ORDER BY number DESC LIMIT ?",  # noqa: S608 - fixed words
            *values,
            limit,
        )
        return count, [StoredMail(*row) for row in rows]

    def clear(self) -> int:
        """Throw all mails away; how many there were. Their numbers are not used again."""
        return self.execute("DELETE FROM mails").rowcount

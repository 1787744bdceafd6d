"""Import a biller's bills from its file: all in the caller's transaction, some thousand rows per statement.

The same file again changes nothing. A bill that was closed is opened again if it has not expired and no live payment
holds it; a bill that the file does not list stays as it is, and expires.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills.accounts import find_or_open_accounts
from services.billing.bills.read_file import BillLine
from services.billing.bills.record import BILLS_OF_ARRAYS, columns_of

# So a statement's arrays stay below two megabytes, and thousands of rows share one plan.
ROWS_AT_ONCE = 5_000

_REOPENS = """excluded.expires_at > now() AND NOT EXISTS (SELECT FROM live_bills l WHERE l.bill_id = b.id)"""
_STATED = """(%(of)s.period, %(of)s.amount_minor, %(of)s.currency, %(of)s.rule, %(of)s.min_minor, %(of)s.max_minor,
    %(of)s.multiple_minor, %(of)s.due_on, %(of)s.expires_at)"""
# `new` is true for an inserted bill and false for a changed one; unchanged bills are not returned.
_IMPORT = text(f"""{BILLS_OF_ARRAYS}
    ON CONFLICT (account_id, bill_number) DO UPDATE SET period = excluded.period,
        amount_minor = excluded.amount_minor, currency = excluded.currency, rule = excluded.rule,
        min_minor = excluded.min_minor, max_minor = excluded.max_minor, multiple_minor = excluded.multiple_minor,
        due_on = excluded.due_on, expires_at = excluded.expires_at, looked_up_at = excluded.looked_up_at,
        closed_at = CASE WHEN {_REOPENS} THEN NULL ELSE b.closed_at END
    WHERE {_STATED % {"of": "b"}} IS DISTINCT FROM {_STATED % {"of": "excluded"}}
        OR b.closed_at IS NOT NULL AND {_REOPENS}
    RETURNING (xmax = 0) AS new
""")


# Two imports at once could deadlock.
_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtext('billing.bills.import'), hashtext(CAST(:biller AS text)))"
)


@dataclass(frozen=True, slots=True)
class BillsImported:
    """The result of an import, in numbers of bills."""

    new: int
    changed: int
    unchanged: int


async def import_bills(
    connection: AsyncConnection, biller_id: str, lines: Iterable[BillLine]
) -> BillsImported:
    """Import these bills of a biller. Each bill occurs once among the lines; the reader ensures that."""
    await connection.execute(_ONE_AT_A_TIME, {"biller": biller_id})
    now = datetime.now(UTC)
    new = changed = unchanged = 0
    for batch in _batches(iter(lines)):
        accounts = await find_or_open_accounts(
            connection, [(biller_id, each.account_number) for each in batch]
        )
        stated = {
            (accounts[biller_id, each.account_number], each.bill.bill_number): (each.bill, now)
            for each in batch
        }
        written = [row.new for row in await connection.execute(_IMPORT, columns_of(stated))]
        new += sum(written)
        changed += len(written) - sum(written)
        unchanged += len(stated) - len(written)
    return BillsImported(new, changed, unchanged)


def _batches(lines: Iterator[BillLine]) -> Iterator[list[BillLine]]:
    while batch := list(islice(lines, ROWS_AT_ONCE)):
        yield batch

"""Record the results of late reports: transfers that are certain are booked, once."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from services.billing import ledger
from services.billing.late.model import LateProgress
from services.billing.outside.calls import record_calls
from services.billing.outside.cases import NewCase, close_cases, open_cases
from services.billing.outside.recording import is_held, overdue
from services.billing.payments import ended as payments
from services.billing.refunds import ended as refunds
from services.billing.subject import Kind
from services.billing.top_ups import ended as top_ups

# In the order in which every transaction locks them.
_LOCKS = {
    Kind.PAYMENT: payments.LOCK,
    Kind.REFUND: refunds.LOCK,
    Kind.TOP_UP: top_ups.LOCK,
}


async def record_late(connection: AsyncConnection, results: Sequence[LateProgress]) -> int:
    """Record these results in the caller's transaction; return how many of them were of the latest claim.

    Only a result of the latest claim counts; the process that has claimed since finds the same at the PSP.
    """
    await record_calls(connection, results)
    for kind, statement in _LOCKS.items():
        ids = [each.subject.id for each in results if each.subject.kind == kind]
        if ids:
            await connection.execute(statement, {"ids": ids})
    locked = await errands.lock(connection, [each.run.errand for each in results])
    held = [each for each in results if is_held(locked, each.run.errand)]
    await _book(connection, held)
    over = [each for each in held if each.over]
    await errands.end(connection, [each.run.errand.key for each in over])
    await errands.settle(connection, [each.run for each in held if not each.over])
    await close_cases(connection, {each.subject: "the PSP's report was verified" for each in over})
    cases = [each.case for each in over if each.case]
    for each in held:
        note = None if each.over else overdue(each.run, locked[each.run.errand.key])
        cases += [NewCase(each.subject, f"unknown_{each.run.leg}", note)] if note else []
    await open_cases(connection, cases)
    return len(held)


async def _book(connection: AsyncConnection, results: Sequence[LateProgress]) -> None:
    now = datetime.now(UTC)
    wanted = {transfer.id: transfer for each in results for transfer in each.transfers(now)}
    booked = await ledger.booked(connection, wanted.keys())
    # A transfer of another kind under the same id is no repetition: the ledger refuses it.
    missing = [each for each in wanted.values() if booked.get(each.id) != each.kind]
    if missing:
        await ledger.post(connection, missing)

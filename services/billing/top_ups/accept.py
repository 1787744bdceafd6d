"""Top up a wallet: charge the payer's means of payment, and add it to the wallet's balance.

The same shape as a payment, without a bill: the first transaction stores the command, the PSP is called with a key
derived from the top-up's id, the second transaction books it.
"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Booking, FirstLeg
from events.ids import derived_id
from events.payments import TopUpWallet
from messaging.outbox import enqueue
from services.billing.channels import payment_limits
from services.billing.institutions import PSP
from services.billing.instruction import Instruction, fingerprint, sort_out
from services.billing.subject import Kind
from services.billing.top_ups import events
from services.billing.top_ups.decide import reason_against
from services.billing.top_ups.model import TopUp
from services.billing.top_ups.read import read
from services.billing.top_ups.tables import TopUpState

_KNOWN = text("SELECT id, request_hash FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[]))")
_INSERT = text(f"""
    INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, request_hash,
        state, version, reason, correlation_id, finished_at)
    SELECT id, transfer_id, channel_id, payer, amount, currency, method, hash,
        CASE WHEN reason IS NULL THEN '{TopUpState.ACCEPTED}' ELSE '{TopUpState.DECLINED}' END,
        CASE WHEN reason IS NULL THEN 0 ELSE 1 END,
        reason, correlation_id, CASE WHEN reason IS NOT NULL THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:transfers AS uuid[]), CAST(:channels AS text[]), CAST(:payers AS text[]),
        CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:methods AS text[]), CAST(:hashes AS bytea[]),
        CAST(:reasons AS text[]), CAST(:correlations AS text[])
    ) AS t (id, transfer_id, channel_id, payer, amount, currency, method, hash, reason, correlation_id)
""")  # noqa: S608 - the states are our own constants


async def accept_top_ups(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[TopUpWallet]],
    booking: Booking,
) -> tuple[list[TopUp], list[int]]:
    """Store the commands in the caller's transaction; return the top-ups that have a place at the PSP, and the
    positions whose id is reused.

    Raises IntegrityError when another worker accepts one of them at the same moment: accept the batch again.
    """
    commands = [each.command for each in instructions]
    rows = await connection.execute(_KNOWN, {"ids": [each.top_up_id for each in commands]})
    known: dict[UUID, bytes] = {row.id: row.request_hash for row in rows}
    fingerprints = [_fingerprint_of(each) for each in commands]
    fresh, reused = sort_out([each.top_up_id for each in commands], fingerprints, known)
    if not fresh:
        return [], reused
    limits = await payment_limits(connection)
    new = [instructions[position] for position in fresh]
    reasons = [reason_against(each.command, limits) for each in new]
    await _insert(connection, new, [fingerprints[n] for n in fresh], reasons)
    refused = zip(new, reasons, strict=True)
    await enqueue(connection, [events.refused(each, reason) for each, reason in refused if reason])
    top_ups = await read(connection, [each.command.top_up_id for each in new])
    calls = [FirstLeg(each.id, PSP, "charge") for each in top_ups]
    booked = await errands.book(connection, booking, Kind.TOP_UP, calls)
    held = [
        replace(each, errand=booked.held[each.id]) for each in top_ups if each.id in booked.held
    ]
    return held, reused


async def _insert(
    connection: AsyncConnection,
    new: Sequence[Instruction[TopUpWallet]],
    fingerprints: Sequence[bytes],
    reasons: Sequence[str | None],
) -> None:
    commands = [each.command for each in new]
    await connection.execute(
        _INSERT,
        {
            "ids": [each.top_up_id for each in commands],
            "transfers": [derived_id(Kind.TOP_UP, each.top_up_id) for each in commands],
            "channels": [each.channel for each in commands],
            "payers": [each.payer for each in commands],
            "amounts": [each.amount_minor for each in commands],
            "currencies": [each.currency for each in commands],
            "methods": [each.payment_method for each in commands],
            "hashes": list(fingerprints),
            "reasons": list(reasons),
            "correlations": [each.correlation_id for each in new],
        },
    )


def _fingerprint_of(command: TopUpWallet) -> bytes:
    # Two commands with the same digest request the same top-up.
    return fingerprint(
        command.channel,
        command.payer,
        command.amount_minor,
        command.currency,
        command.payment_method,
    )

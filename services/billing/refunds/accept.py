"""Accept refunds, of all of a payment or of a part: the first transaction.

The amount is reserved on the payment before any external call (a CHECK keeps refunds within the captured amount), so
concurrent refunds cannot exceed it. The refund that completes a payment waits for those before it, so that it alone
decides about the biller's mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Booking, FirstLeg
from events.ids import derived_id
from events.payments import RefundPayment
from services.billing.instruction import Instruction, fingerprint, sort_out
from services.billing.payments import refundable
from services.billing.payments.refundable import Refundable
from services.billing.payments.tables import GIVEN_BACK, PAID, State
from services.billing.refunds.model import Decided, Refund, Reversal
from services.billing.refunds.read import read
from services.billing.refunds.tables import RefundState
from services.billing.subject import Kind

_KNOWN = text("SELECT id, request_hash FROM refunds WHERE id = ANY(CAST(:ids AS uuid[]))")
# The time of the insert, not of the transaction: under the payment's lock it shows which refund came first.
_INSERT = text(f"""
    INSERT INTO refunds (id, transfer_id, payment_id, amount_minor, request_hash, state, reason, correlation_id,
        reversal, created_at, finished_at)
    SELECT id, transfer_id, payment_id, amount, hash, state, reason, correlation_id, reversal, clock_timestamp(),
        CASE WHEN state = '{RefundState.FAILED}' THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:transfers AS uuid[]), CAST(:payments AS uuid[]), CAST(:amounts AS bigint[]),
        CAST(:hashes AS bytea[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:correlations AS text[]),
        CAST(:reversals AS bool[])
    ) AS r (id, transfer_id, payment_id, amount, hash, state, reason, correlation_id, reversal)
""")  # noqa: S608 - the states are our own constants


@dataclass(frozen=True, slots=True)
class AcceptedRefunds:
    """The result of a batch: the number under way, those with a place at an institution, those refused immediately,
    and by position the reason why a command cannot be carried out at all.
    """

    accepted_count: int
    held: list[Refund]
    refused: list[Decided]
    wrong: dict[int, str]


async def accept_refunds(
    connection: AsyncConnection,
    instructions: Sequence[Instruction[RefundPayment]],
    booking: Booking,
) -> AcceptedRefunds:
    """Reserve the amounts in the caller's transaction. A command that was accepted before changes nothing."""
    commands = [each.command for each in instructions]
    payments = await refundable.lock(connection, [each.payment_id for each in commands])
    known = await _known(connection, [each.refund_id for each in commands])
    wrong = {
        position: "payment_unknown"
        for position, each in enumerate(commands)
        if each.payment_id not in payments or payments[each.payment_id].channel != each.channel
    }
    ours = [position for position in range(len(commands)) if position not in wrong]
    fingerprints = [_fingerprint_of(commands[n]) for n in ours]
    fresh, reused = sort_out([commands[n].refund_id for n in ours], fingerprints, known)
    wrong |= {ours[n]: "refund_id_reused" for n in reused}
    left = {id: row.left_minor for id, row in payments.items()}
    decided: list[Decided] = []
    for position in fresh:
        instruction = instructions[ours[position]]
        payment_id = instruction.command.payment_id
        decided.append(_decide(instruction, payments[payment_id], left[payment_id]))
        if decided[-1].refund.reserved:
            left[payment_id] -= decided[-1].refund.amount_minor
    await _insert(connection, decided, [fingerprints[n] for n in fresh])
    accepted = [each.refund.id for each in decided if each.refund.reserved]
    refused = [each for each in decided if not each.refund.reserved]
    held = await _book_errands(connection, accepted, booking)
    return AcceptedRefunds(len(accepted), held, refused, wrong)


async def accept_reversals(
    connection: AsyncConnection, reversals: Sequence[Reversal], booking: Booking
) -> AcceptedRefunds:
    """Reserve all that is left of these payments in the caller's transaction; a second call finds nothing left."""
    requested = {each.payment_id: each for each in reversals}
    payments = await refundable.lock(connection, list(requested))
    left = {id: each for id, each in payments.items() if each.left_minor > 0}
    known = await _known(connection, [requested[id].refund_id for id in left])
    decided = [
        Decided(
            Refund(
                requested[id].refund_id,
                id,
                row.left_minor,
                RefundState.UNAPPLIED,
                correlation_id=row.correlation_id,
                reversal=True,
            ),
            RefundState.UNAPPLIED,
            reason=requested[id].reason,
        )
        for id, row in left.items()
        if requested[id].refund_id not in known
    ]
    await _insert(connection, decided, [each.refund.id.bytes for each in decided])
    accepted = [each.refund.id for each in decided]
    held = await _book_errands(connection, accepted, booking)
    return AcceptedRefunds(len(accepted), held, [], {})


async def _book_errands(
    connection: AsyncConnection, accepted: Sequence[UUID], booking: Booking
) -> list[Refund]:
    # Books one errand for each refund; returns those that have a place.
    refunds = {each.id: each for each in await read(connection, accepted)}
    calls = [FirstLeg(each.id, *each.first_call) for each in refunds.values()]
    booked = await errands.book(connection, booking, Kind.REFUND, calls)
    return [replace(refunds[id], errand=errand) for id, errand in booked.held.items()]


def _fingerprint_of(command: RefundPayment) -> bytes:
    # Two commands with the same digest request the same refund. The reason of the command is not part of it: it is
    # only passed on.
    return fingerprint(command.payment_id.hex, command.channel, command.amount_minor or "")


def _decide(
    instruction: Instruction[RefundPayment], payment: Refundable, left_minor: int
) -> Decided:
    command = instruction.command
    amount = command.amount_minor or max(left_minor, 0)
    reason = _reason_against(payment.state, amount, left_minor)
    state = RefundState.FAILED if reason else RefundState.ACCEPTED
    refund = Refund(
        command.refund_id,
        command.payment_id,
        amount,
        state,
        correlation_id=instruction.correlation_id,
        reserved=reason is None,
    )
    return Decided(refund, state, reason)


def _reason_against(state: State, amount_minor: int, left_minor: int) -> str | None:
    if state not in PAID:
        return "already_refunded" if state in GIVEN_BACK else "not_succeeded"
    if left_minor <= 0:
        return "already_refunded"
    return "more_than_is_left" if amount_minor > left_minor else None


async def _known(connection: AsyncConnection, refund_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    rows = await connection.execute(_KNOWN, {"ids": list(refund_ids)})
    return {row.id: row.request_hash for row in rows}


async def _insert(
    connection: AsyncConnection,
    decided: Sequence[Decided],
    fingerprints: Sequence[bytes],
) -> None:
    if not decided:
        return
    refunds = [each.refund for each in decided]
    await connection.execute(
        _INSERT,
        {
            "ids": [each.id for each in refunds],
            "transfers": [derived_id(Kind.REFUND, each.id) for each in refunds],
            "payments": [each.payment_id for each in refunds],
            # Nothing was left and no amount was given. An amount must be positive, and this refund has failed anyway.
            "amounts": [max(each.amount_minor, 1) for each in refunds],
            "hashes": list(fingerprints),
            "states": [each.state for each in decided],
            "reasons": [each.reason for each in decided],
            "correlations": [each.correlation_id for each in refunds],
            "reversals": [each.reversal for each in refunds],
        },
    )
    reserved: dict[UUID, int] = {}
    for each in refunds:
        if each.reserved:
            reserved[each.payment_id] = reserved.get(each.payment_id, 0) + each.amount_minor
    await refundable.reserve(connection, reserved)

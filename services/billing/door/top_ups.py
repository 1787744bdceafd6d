"""Top-ups at the HTTP door: an objection or a promise."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.problems import Problem
from events.payments import TopUpWallet
from services.billing.channels import payment_limits
from services.billing.door.objections import objection
from services.billing.door.promise import Promise
from services.billing.subject import Kind
from services.billing.top_ups.decide import reason_against


async def examine(
    connection: AsyncConnection, commands: Sequence[TopUpWallet]
) -> list[Promise | Problem]:
    """Return for each of these top-ups an objection as of now, or its promise."""
    limits = await payment_limits(connection)
    return [
        objection(reason) if (reason := reason_against(each, limits)) else _promise(each)
        for each in commands
    ]


def _promise(command: TopUpWallet) -> Promise:
    return Promise(
        command.top_up_id,
        Kind.TOP_UP,
        command,
        command.payer,
        None,
        command.amount_minor,
        command.currency,
    )

"""`meterhall refunds …`: the two ways to end a refund that the PSP refuses."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from chassis.output import fail, money
from services.billing.cli.session import engine, run, settings, transaction

if TYPE_CHECKING:
    from services.billing.refunds.stuck import Credited

commands = typer.Typer(
    name="refunds", help="Refunds that failed at the PSP: see `cases list`.", no_args_is_help=True
)

RefundId = Annotated[UUID, typer.Argument(help="Of the refund, from `meterhall cases list`.")]


@commands.command("retry")
def retry(refund_id: RefundId) -> None:
    """Call the PSP again for a stuck refund, as a new request. Its case closes; a new one opens if it fails again."""
    from services.billing.refunds import stuck

    async def work() -> int:
        async with transaction() as connection:
            return await stuck.retry(connection, refund_id)

    try:
        attempt = run(work())
    except stuck.RefundCommandError as error:
        fail(str(error))
    print(f"The PSP is called again for refund {refund_id}, attempt {attempt}. Its case is closed.")
    print(f"See what comes of it: meterhall payments show {refund_id}")


@commands.command("to-wallet")
def to_wallet(refund_id: RefundId) -> None:
    """Pay a refund that failed at the PSP to the payer's wallet, after the PSP has confirmed that it failed."""
    from services.billing.psp import Psp
    from services.billing.refunds import stuck

    async def work() -> "Credited":
        async with engine() as database:
            psp = Psp(settings().psp_url, settings().psp_api_key.get_secret_value())
            try:
                return await stuck.to_wallet(database, psp, refund_id)
            finally:
                await psp.aclose()

    try:
        credited = run(work())
    except stuck.RefundCommandError as error:
        fail(str(error))
    amount = money(credited.amount_minor, credited.currency)
    print(f"The payer's wallet got {amount} for refund {refund_id}. Its case is closed.")

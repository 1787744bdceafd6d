"""The events of a top-up."""

from events.message import Event
from events.payments import TopUpActionRequired, TopUpFailed, TopUpWallet, WalletToppedUp
from messaging.outbox import Outgoing
from services.billing.instruction import Instruction
from services.billing.top_ups.model import TopUpProgress
from services.billing.top_ups.tables import TopUpState


def refused(instruction: Instruction[TopUpWallet], reason: str) -> Outgoing:
    """Return TopUpFailed for a top-up that could not begin."""
    command = instruction.command
    event = TopUpFailed(
        top_up_id=command.top_up_id,
        channel=command.channel,
        payer=command.payer,
        amount_minor=command.amount_minor,
        currency=command.currency,
        reason=reason,
    )
    return Outgoing.of(event, 1, instruction.correlation_id, instruction.traceparent)


def event_of(progress: TopUpProgress, action_url_before: str | None) -> Event | None:
    """Return the event of this progress, or None."""
    top_up = progress.top_up
    about = {
        "top_up_id": top_up.id,
        "channel": top_up.channel,
        "payer": top_up.payer,
        "amount_minor": top_up.amount_minor,
        "currency": top_up.currency,
    }
    if progress.state == TopUpState.SUCCEEDED:
        return WalletToppedUp.model_validate(about)
    if progress.state == TopUpState.DECLINED:
        return TopUpFailed.model_validate({**about, "reason": progress.reason})
    if progress.action_url and progress.action_url != action_url_before:
        return TopUpActionRequired.model_validate({**about, "action_url": progress.action_url})
    return None

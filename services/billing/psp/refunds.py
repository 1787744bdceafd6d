"""Choose the refund of a subject among a charge's refunds at the PSP; there may be one for each attempt."""

from collections.abc import Sequence

from services.billing.psp.outcomes import Unknown
from services.billing.psp.wire import WireRefund


def choose(
    refunds: Sequence[WireRefund], intent_id: str, attempt: int | None
) -> WireRefund | Unknown | None:
    """Return the refund that counts among the subject's refunds, which are given newest first.

    A refund that is pending or has succeeded takes precedence over failed ones, whatever its attempt. Of the failed
    ones only that of this attempt counts, or the newest when no attempt is given.
    """
    if any(refund.payment_intent != intent_id for refund in refunds):
        return Unknown("not_ours: the list has a refund of another charge")
    live = [refund for refund in refunds if not refund.has_failed]
    if len(live) > 1:
        return Unknown(f"doubled: {', '.join(refund.id for refund in live)} are one refund")
    failed = (
        refund for refund in refunds if refund.has_failed and attempt in {None, refund.attempt}
    )
    return live[0] if live else next(failed, None)

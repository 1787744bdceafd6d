"""Which of a charge's refunds at the PSP is the one for a subject: there may be one for each attempt."""

from collections.abc import Sequence

from services.billing.psp.outcomes import Unknown
from services.billing.psp.wire import WireRefund


def choose(
    refunds: Sequence[WireRefund], intent_id: str, attempt: int | None
) -> WireRefund | Unknown | None:
    """The refund that counts, of all that name the subject, newest first.

    One that is pending or has succeeded counts before those that failed, whatever its attempt. Of those that failed
    only the one of this attempt counts, or the newest when no attempt is named.
    """
    if any(one.payment_intent != intent_id for one in refunds):
        return Unknown("not_ours: the list told of a refund of another charge")
    live = [one for one in refunds if not one.has_failed]
    if len(live) > 1:
        return Unknown(f"doubled: {', '.join(one.id for one in live)} are one refund")
    failed = (one for one in refunds if one.has_failed and attempt in {None, one.attempt})
    return live[0] if live else next(failed, None)

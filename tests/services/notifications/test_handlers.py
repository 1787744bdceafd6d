"""The table of events: complete, on the topics that the group reads, and one mail per happening."""

import pytest

from events import EVENT_TYPES
from events.ids import uuid7
from events.message import Event
from events.payments import PaymentAccepted, PaymentActionRequired, RefundFailed, WalletToppedUp
from events.topics import DEAD_LETTERS, NOTIFICATIONS_GROUP
from services.notifications.handlers import NOTIFIED, gets_mail
from tests.services.notifications.support import about, failed, issued, refunded, succeeded, voided


def test_every_event_of_the_topics_that_the_group_reads_is_in_the_table_once() -> None:
    read = {topic for topic, group in DEAD_LETTERS if group == NOTIFICATIONS_GROUP}
    assert read
    handled = [each.event for each in NOTIFIED]
    assert len(handled) == len(set(handled))
    assert set(handled) == {each for each in EVENT_TYPES.values() if each.topic.name in read}


@pytest.mark.parametrize(
    ("event", "mail"),
    [
        (issued("app", "p"), True),
        (failed("app", "p"), True),
        (refunded("app", "p", 100, 100), True),
        (voided("app", "p", "reversed"), True),
        (voided("app", "p", "refunded"), False),  # told by the refund
        (succeeded("app", "p"), False),  # told by the receipt
        (PaymentAccepted(**about("app", "p")), False),
        (PaymentActionRequired(**about("app", "p"), action_url="https://psp.example"), False),
        (
            RefundFailed(**about("app", "p"), refund_id=uuid7(), refund_minor=1, reason="disputed"),
            False,
        ),
        (
            WalletToppedUp(
                top_up_id=uuid7(), channel="app", payer="p", amount_minor=1, currency="CNY"
            ),
            False,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_payer_gets_one_mail_per_happening(event: Event, mail: bool) -> None:
    assert gets_mail(event) is mail

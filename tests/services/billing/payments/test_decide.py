"""Every amount rule, and every objection, as a table."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from events.ids import uuid7
from events.payments import PayBill, TopUpWallet, WalletFunding
from services.billing.bills import Bill
from services.billing.payments.accept import reason_against
from services.billing.top_ups import decide as about_top_ups

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
LIMITS = {"app": 1_000_000}


def bill(**other: Any) -> Bill:
    values: dict[str, Any] = {
        "id": UUID(int=1),
        "account_id": UUID(int=2),
        "account_number": "10000001",
        "biller_id": "power",
        "bill_number": "B1",
        "period": "2026-10",
        "amount_minor": 8_850,
        "currency": "CNY",
        "rule": "exact",
        "min_minor": None,
        "max_minor": None,
        "multiple_minor": None,
        "expires_at": NOW + timedelta(seconds=1),
        "expired": False,
        "closed": False,
        "settled_by": "file",
    }
    return Bill(**{**values, **other})


def command(**other: Any) -> PayBill:
    values: dict[str, Any] = {
        "payment_id": uuid7(),
        "channel": "app",
        "payer": "p",
        "bill_id": UUID(int=1),
        "amount_minor": 8_850,
        "currency": "CNY",
        "funding": WalletFunding(),
    }
    return PayBill(**{**values, **other})


@pytest.mark.parametrize(
    ("terms", "allowed", "refused"),
    [
        ({"rule": "exact"}, [8_850], [1, 8_849, 8_851, 17_700]),
        ({"rule": "at_least"}, [8_850, 8_851, 999_999], [1, 8_849]),
        ({"rule": "at_most"}, [1, 8_849, 8_850], [8_851]),
        (
            {"rule": "range", "min_minor": 100, "max_minor": 200},
            [100, 150, 200],
            [99, 201, 8_850],
        ),
        ({"rule": "any"}, [1, 8_850, 10**15], []),
        ({"rule": "any", "multiple_minor": 1_000}, [1_000, 5_000], [1, 999, 1_001, 8_850]),
        ({"rule": "any", "min_minor": 500}, [500, 501], [499]),
        ({"rule": "any", "max_minor": 500}, [1, 500], [501]),
        ({"rule": "at_least", "max_minor": 10_000}, [8_850, 10_000], [8_849, 10_001]),
        ({"rule": "at_least", "multiple_minor": 100}, [8_900], [8_850, 8_800]),
        ({"rule": "at_most", "min_minor": 100, "multiple_minor": 50}, [100, 150], [50, 99, 101]),
        ({"rule": "exact", "amount_minor": 0}, [], [1]),
    ],
    ids=str,
)
def test_the_rule_decides_about_the_amount(
    terms: dict[str, Any], allowed: list[int], refused: list[int]
) -> None:
    for amount in allowed:
        assert bill(**terms).allows(amount), amount
    for amount in (*refused, 0, -1, -8_850):
        assert not bill(**terms).allows(amount), amount


@pytest.mark.parametrize(
    ("said", "terms", "reason"),
    [
        ({}, {}, None),
        ({"channel": "closed-or-unknown"}, {}, "channel_unknown"),
        ({}, {"closed": True}, "bill_closed"),
        ({}, {"expired": True}, "bill_expired"),
        ({"currency": "USD"}, {}, "currency_mismatch"),
        ({"amount_minor": 8_851}, {}, "amount_not_allowed"),
        ({"amount_minor": 1_000_000}, {"rule": "any"}, None),
        ({"amount_minor": 1_000_001}, {"rule": "any"}, "above_limit"),
    ],
    ids=str,
)
def test_each_objection_has_its_code(
    said: dict[str, Any], terms: dict[str, Any], reason: str | None
) -> None:
    assert reason_against(command(**said), bill(**terms), LIMITS) == reason


def test_a_bill_that_nobody_knows() -> None:
    assert reason_against(command(), None, LIMITS) == "bill_unknown"


@pytest.mark.parametrize(
    ("channel", "amount_minor", "reason"),
    [
        ("app", 1_000_000, None),
        ("app", 1_000_001, "above_limit"),
        ("gone", 1, "channel_unknown"),
    ],
)
def test_a_top_up_is_bounded_as_well(channel: str, amount_minor: int, reason: str | None) -> None:
    requested = TopUpWallet(
        top_up_id=uuid7(),
        channel=channel,
        payer="p",
        amount_minor=amount_minor,
        currency="CNY",
        payment_method="pm_card_visa",
    )
    assert about_top_ups.reason_against(requested, LIMITS) == reason

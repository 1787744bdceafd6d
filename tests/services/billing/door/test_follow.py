"""The statuses that a wallet is shown for the internal states."""

import pytest

from services.billing.door.follow import STATUS
from services.billing.payments.tables import OPEN, WITHOUT_MONEY, State
from services.billing.refunds.tables import RefundState
from services.billing.top_ups.tables import TopUpState


@pytest.mark.parametrize("states", [State, RefundState, TopUpState])
def test_every_state_has_a_status(states: type[State | RefundState | TopUpState]) -> None:
    assert set(states) <= STATUS.keys()


def test_what_is_open_is_processing_and_what_took_no_money_has_failed() -> None:
    assert {STATUS[each] for each in OPEN} == {"processing"}
    assert {STATUS[each] for each in WITHOUT_MONEY} == {"failed"}

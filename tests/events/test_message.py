"""Event.json_of() writes the same JSON as the model would."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import EVENT_TYPES
from events import schema as contract
from events.message import Event
from events.payments import PaymentSucceeded
from tests.events.instances import instances


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_json_of_values_equals_the_json_of_the_model(ce_type: str, data: st.DataObject) -> None:
    model = EVENT_TYPES[ce_type]
    schema = json.loads((contract.SCHEMAS / f"{ce_type}.json").read_text())
    event: Event = model.model_validate_json(json.dumps(data.draw(instances(schema, schema))))
    values = {name: getattr(event, name) for name in model.model_fields}
    assert model.json_of(values) == event.model_dump_json().encode()


def test_a_missing_or_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="receipt_number"):
        PaymentSucceeded.json_of({"payment_id": None})
    values = dict.fromkeys(PaymentSucceeded.model_fields)
    with pytest.raises(TypeError, match="has the fields"):
        PaymentSucceeded.json_of({**values, "more": 1})

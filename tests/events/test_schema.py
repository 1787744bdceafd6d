"""The committed contract agrees with the models and is compatible with the last release."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from events import EVENT_TYPES
from events import schema as contract
from events.envelope import LARGEST_VALUE_BYTES, decode
from events.ids import uuid7
from tests.events.instances import instances

CE_TYPES = sorted(EVENT_TYPES)
# Each test runs for every message, so few examples of each keep it below two seconds.
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def test_committed_files_agree_with_the_models() -> None:
    assert contract.stale_files() == [], "run python -m events.schema and commit the files"


def test_the_models_are_compatible_with_the_last_release() -> None:
    assert contract.incompatible_changes() == []


def test_the_schemas_of_the_last_release_exist() -> None:
    released = {path.name for path in contract.RELEASED.glob("*.json")}
    assert contract.TOPICS in released
    assert len(released) > 20


def test_generating_again_gives_the_same_bytes() -> None:
    assert contract.generated_files() == contract.generated_files()


@pytest.mark.parametrize("ce_type", CE_TYPES)
def test_every_schema_is_valid_and_self_contained(ce_type: str) -> None:
    schema = _committed(ce_type)
    Draft202012Validator.check_schema(schema)
    assert all(each.startswith("#/$defs/") for each in _references(schema))


@pytest.mark.parametrize("ce_type", CE_TYPES)
@FEW
@given(data=st.data())
def test_the_reader_reads_every_value_that_the_schema_allows(
    ce_type: str, data: st.DataObject
) -> None:
    """The value that was read also conforms to the schema when it is written again."""
    schema, model = _committed(ce_type), EVENT_TYPES[ce_type]
    value = data.draw(instances(schema, schema))
    record = json.dumps(value).encode()
    headers = [("ce_type", ce_type.encode()), ("ce_id", str(uuid7()).encode())]
    read = decode(model.topic.name, value[model.key_field].encode(), record, headers)
    written = json.loads(read.event.model_dump_json())
    assert not list(Draft202012Validator(schema).iter_errors(written))
    assert value.keys() <= written.keys()
    assert len(record) < LARGEST_VALUE_BYTES


@pytest.mark.parametrize("ce_type", CE_TYPES)
@FEW
@given(data=st.data())
def test_the_last_release_and_the_models_read_each_other(ce_type: str, data: st.DataObject) -> None:
    path = contract.RELEASED / f"{ce_type}.json"
    if not path.exists():
        return  # a message that is new since the last release
    before, now = json.loads(path.read_text()), _committed(ce_type)
    old = data.draw(instances(before, before))
    EVENT_TYPES[ce_type].model_validate_json(json.dumps(old))
    new = data.draw(instances(now, now))
    assert not list(Draft202012Validator(before).iter_errors(new))


@pytest.mark.parametrize("ce_type", CE_TYPES)
def test_every_message_has_a_description(ce_type: str) -> None:
    schema = _committed(ce_type)
    assert schema["description"].endswith("."), "the model's docstring is its documentation"
    assert schema["title"] == ce_type.split(".")[1]


def test_check_names_each_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _copy_to(tmp_path, monkeypatch)
    assert contract.main(["--check"]) == 0
    (contract.SCHEMAS / "meterhall.PayBill.v1.json").write_text("{}")
    (contract.SCHEMAS / "meterhall.Gone.v1.json").write_text("{}")
    contract.ASYNCAPI.unlink()
    assert contract.main(["--check"]) == 1
    errors = capsys.readouterr().err
    assert all(
        name in errors for name in ("meterhall.PayBill.v1", "meterhall.Gone.v1", "asyncapi.json")
    )
    assert contract.main([]) == 0, "writing repairs all files"
    assert contract.main(["--check"]) == 0
    assert not (contract.SCHEMAS / "meterhall.Gone.v1.json").exists()


def test_an_incompatible_change_fails_check_and_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _copy_to(tmp_path, monkeypatch)
    assert contract.main(["--release"]) == 0
    path = contract.RELEASED / "meterhall.PayBill.v1.json"
    released = json.loads(path.read_text())
    released["properties"]["coupon"] = {"type": "string"}
    path.write_text(json.dumps(released))
    for arguments in (["--check"], ["--release"], []):
        assert contract.main(arguments) == 1
        assert "PayBill.v1: value.coupon: the field is removed" in capsys.readouterr().err
    assert json.loads(path.read_text()) == released, "the released schema is unchanged"


def _copy_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Let the generator work on copies of its files.
    monkeypatch.setattr(contract, "ROOT", folder)
    page = folder / "events.md"
    page.write_text(contract.PAGE.read_text())
    monkeypatch.setattr(contract, "PAGE", page)
    for name, place in (
        ("SCHEMAS", "schemas"),
        ("RELEASED", "released"),
        ("ASYNCAPI", "asyncapi.json"),
    ):
        monkeypatch.setattr(contract, name, folder / place)
    contract.write()


def _committed(ce_type: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((contract.SCHEMAS / f"{ce_type}.json").read_text())
    return schema


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if "$ref" in schema else []
        return own + [each for part in schema.values() for each in _references(part)]
    if isinstance(schema, list):
        return [each for part in schema for each in _references(part)]
    return []

"""OpenAPI 3.1 as 3.0, for the Swagger UI that pip brings (version 4, which refuses 3.1).

What differs between the two is how a schema says null, a constant, an exclusive bound and examples.
"""

from collections.abc import Mapping
from typing import Any


def as_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same document in the older dialect."""
    made: dict[str, Any] = _converted(document)
    return {**made, "openapi": "3.0.3"}


def _converted(part: Any) -> Any:
    if isinstance(part, list):
        return [_converted(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    said = {
        # Under `properties` the keys are names, not keywords.
        key: {name: _converted(each) for name, each in value.items()}
        if key == "properties"
        else _converted(value)
        for key, value in part.items()
    }
    return _nullable(_bounds(_constants(said)))


def _constants(said: dict[str, Any]) -> dict[str, Any]:
    if "const" in said:
        said["enum"] = [said.pop("const")]
    if isinstance(said.get("examples"), list):
        said["example"] = said.pop("examples")[0]
    return said


def _bounds(said: dict[str, Any]) -> dict[str, Any]:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in said and not isinstance(said[exclusive], bool):
            said[bound] = said[exclusive]
            said[exclusive] = True
    return said


def _nullable(said: dict[str, Any]) -> dict[str, Any]:
    alternatives = said.get("anyOf")
    if not isinstance(alternatives, list) or {"type": "null"} not in alternatives:
        return said
    left = [each for each in alternatives if each != {"type": "null"}]
    others = {key: value for key, value in said.items() if key != "anyOf"}
    if len(left) == 1:
        # 3.0 ignores what stands beside a reference, so the reference goes inside.
        inner = {"allOf": left} if "$ref" in left[0] else left[0]
        return {**inner, **others, "nullable": True}
    return {**others, "anyOf": left, "nullable": True}

"""OpenAPI 3.1 as 3.0, for the Swagger UI that pip brings (version 4, which refuses 3.1).

The two differ in how a schema declares null, a constant, an exclusive bound and examples.
"""

from collections.abc import Mapping
from typing import Any


def as_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same document in version 3.0."""
    converted: dict[str, Any] = _converted(document)
    return {**converted, "openapi": "3.0.3"}


def _converted(part: Any) -> Any:
    if isinstance(part, list):
        return [_converted(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    schema = {
        # Under `properties` the keys are names, not keywords.
        key: {name: _converted(each) for name, each in value.items()}
        if key == "properties"
        else _converted(value)
        for key, value in part.items()
    }
    return _nullable(_bounds(_constants(schema)))


def _constants(schema: dict[str, Any]) -> dict[str, Any]:
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if isinstance(schema.get("examples"), list):
        schema["example"] = schema.pop("examples")[0]
    return schema


def _bounds(schema: dict[str, Any]) -> dict[str, Any]:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema and not isinstance(schema[exclusive], bool):
            schema[bound] = schema[exclusive]
            schema[exclusive] = True
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list) or {"type": "null"} not in alternatives:
        return schema
    left = [each for each in alternatives if each != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(left) == 1:
        # 3.0 ignores keywords beside a reference, so the reference goes inside.
        inner = {"allOf": left} if "$ref" in left[0] else left[0]
        return {**inner, **others, "nullable": True}
    return {**others, "anyOf": left, "nullable": True}

"""The JSON Schema (draft 2020-12) of a command's or an event's value, from its model."""

from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import (
    DEFAULT_REF_TEMPLATE,
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
)

from events.message import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[Event], ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """Return the schema of the model's value, complete in itself: referenced schemas are under `$defs`."""
    schema = model.model_json_schema(schema_generator=_Plain, ref_template=ref_template)
    return {"$schema": DIALECT, "$id": f"urn:meterhall:{model.__name__}:v{model.major}", **schema}


class _Plain(GenerateJsonSchema):
    """Pydantic's schema without titles that only repeat a field's name, and with the tag of a union required."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        generated = super().generate(schema, mode)
        # The reader chooses by the tag, so a message must have it, even when the model has a default.
        for union in list(_tagged(generated)):
            tag = union["discriminator"]["propertyName"]
            for target in union["discriminator"]["mapping"].values():
                part = generated["$defs"][target.rsplit("/", 1)[1]]
                required = {tag, *part.get("required", ())}
                part["required"] = [name for name in part["properties"] if name in required]
        return generated


def _tagged(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "discriminator" in schema:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _tagged(part)

"""The JSON Schema of a manifest, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from crucible_batch.manifest.extension import manifest_model


class _Written(GenerateJsonSchema):
    """A schema generator that leaves null out of all types, since a manifest may not have a key
    without a value."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Max Credits Per Job" only repeats the key

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return the pattern of keys as ``propertyNames``; ``patternProperties`` would accept keys
        that don't match."""
        described = super().dict_schema(schema)
        for pattern, value in described.pop("patternProperties", {}).items():
            described["additionalProperties"] = value
            described.setdefault("propertyNames", {})["pattern"] = pattern
        return described

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of manifest version 1, with descriptions and examples.

    It doesn't include rules between fields and rules that need files; these are checked by
    ``load_manifest`` only.
    """
    schema = manifest_model().model_json_schema(schema_generator=_Written)
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "crucible-batch manifest, version 1",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}

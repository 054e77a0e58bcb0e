"""The JSON Schema of a manifest, for editors: ``manifest_schema``."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from crucible_batch.manifest.models import ManifestV1


class _Written(GenerateJsonSchema):
    """Describes what an author may write: a key without a value is refused, so None is no value of any."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Max Credits Per Job" says nothing that the key doesn't

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Hold every key to the pattern of keys: as ``patternProperties`` one that doesn't fit would be free."""
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

    It holds the shape alone. What relates fields to each other, or needs files, is checked by ``load_manifest``.
    """
    schema = ManifestV1.model_json_schema(schema_generator=_Written)
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "crucible-batch manifest, version 1"}
    return head | {key: value for key, value in schema.items() if key != "title"}

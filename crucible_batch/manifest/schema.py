"""The JSON Schema of a manifest, for editors: ``manifest_schema`` and ``live_schema``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from crucible_batch.manifest.models import ManifestV1


class _Written(GenerateJsonSchema):
    """A schema generator that leaves null out of all types, since a manifest may not have a key without a value."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Max Credits Per Job" only repeats the key

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return the pattern of keys as ``propertyNames``; ``patternProperties`` would accept keys that don't match."""
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

    It doesn't include rules between fields and rules that need files; these are checked by ``load_manifest`` only.
    """
    schema = ManifestV1.model_json_schema(schema_generator=_Written)
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "crucible-batch manifest, version 1"}
    return head | {key: value for key, value in schema.items() if key != "title"}


Parameters: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Parameters of a workflow by name, each with JSON Schema keywords such as ``description`` and ``default``."""

A_TEMPLATE = {"type": "string", "pattern": r"\{[{%#]"}
_NAMES_NONE = {"not": {"required": ["workflow"]}}


def live_schema(workflows: Mapping[str, Parameters | None]) -> dict[str, Any]:
    """Return ``manifest_schema`` with the given workflows; None means that a workflow doesn't list its parameters.

    The schema is not stricter than a run: a value may be a template, which its keywords must allow.
    """
    schema = manifest_schema()
    definitions, job = schema["$defs"], schema["$defs"]["JobEntry"]
    listed = {name: f"On{number}" for number, (name, known) in enumerate(sorted(workflows.items())) if known}
    for name, definition in listed.items():
        definitions[definition] = _on(name, workflows[name] or {})
    for holder in (schema, job):
        holder["properties"]["workflow"] |= {"anyOf": [{"enum": sorted(workflows)}, A_TEMPLATE]}
    schema["properties"]["workflows"]["properties"] = {
        name: {"allOf": [_ref("WorkflowDefaults"), _ref(definition)]} for name, definition in listed.items()
    }
    if listed:
        job["allOf"] = [_where(name, _ref(definition)) for name, definition in listed.items()]
        schema["allOf"] = [_where(name, _defaults(definition)) for name, definition in listed.items()]
    return schema


def _on(name: str, known: Parameters) -> dict[str, Any]:
    """Return the schema of the parameters that jobs of a workflow, or the workflow's defaults, may name."""
    names = {"enum": list(known)}
    return {
        "description": f"What the workflow {name} takes.",
        "properties": {
            "params": {
                "properties": {parameter: dict(about) for parameter, about in known.items()},
                "additionalProperties": False,
            },
            "images": {"propertyNames": names},
            "fields": {"properties": {"prompt": names, "image": names}},
        },
    }


def _where(name: str, then: Mapping[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"workflow": {"const": name}}, "required": ["workflow"]}, "then": then}


def _defaults(definition: str) -> dict[str, Any]:
    """Return the schema of ``params`` and of jobs without a workflow, if the workflow is the default."""
    return {
        "properties": {
            "params": {"$ref": f"#/$defs/{definition}/properties/params"},
            "jobs": {"items": {"if": _NAMES_NONE, "then": _ref(definition)}},
        }
    }


def _ref(definition: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{definition}"}

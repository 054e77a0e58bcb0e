"""The JSON Schema of a manifest for one account: its workflows by name, and the parameters that each of them lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from crucible_batch.manifest.schema import manifest_schema

Parameters: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Parameters of a workflow by name, each with what a schema may say of it: ``description``, ``default``."""

_A_TEMPLATE = {"type": "string", "pattern": r"\{[{%#]"}
_NAMES_NONE = {"not": {"required": ["workflow"]}}


def live_schema(workflows: Mapping[str, Parameters | None]) -> dict[str, Any]:
    """Return ``manifest_schema`` with what is known of workflows; None for one that doesn't list its parameters.

    Whatever it refuses a run would refuse as well. Values of parameters are left alone, since they may be templates.
    """
    schema = manifest_schema()
    definitions, job = schema["$defs"], schema["$defs"]["Job"]
    listed = {name: f"On{number}" for number, (name, known) in enumerate(sorted(workflows.items())) if known}
    for name, definition in listed.items():
        definitions[definition] = _on(name, workflows[name] or {})
    for holder in (schema, job):
        holder["properties"]["workflow"] |= {"anyOf": [{"enum": sorted(workflows)}, _A_TEMPLATE]}
    schema["properties"]["workflows"]["properties"] = {
        name: {"allOf": [_ref("Workflow"), _ref(definition)]} for name, definition in listed.items()
    }
    if listed:
        job["allOf"] = [_where(name, _ref(definition)) for name, definition in listed.items()]
        schema["allOf"] = [_where(name, _defaults(definition)) for name, definition in listed.items()]
    return schema


def _on(name: str, known: Parameters) -> dict[str, Any]:
    """What holds for a job on a workflow, and for the defaults of one: the parameters that may be named in it."""
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
    """What holds for a manifest with that default workflow: for its ``params``, and for jobs that name no other."""
    return {
        "properties": {
            "params": {"$ref": f"#/$defs/{definition}/properties/params"},
            "jobs": {"items": {"if": _NAMES_NONE, "then": _ref(definition)}},
        }
    }


def _ref(definition: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{definition}"}

"""The OpenAPI 3.1 description of the gateway, made from the operations and the models that serve it."""

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from crucible_batch.sandbox import wire
from crucible_batch.sandbox.operations import OPERATIONS, Operation

_SCHEMAS = "#/components/schemas/"


class _PlainSchema(GenerateJsonSchema):
    """JSON Schema as one would write it: null as a second type, no titles, no defaults that merely mean "absent"."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str):
            return {**inner, "type": [inner["type"], "null"]}
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def describe() -> dict[str, Any]:
    """Write the description, as a document that can be served as JSON."""
    models: list[type[wire.Body]] = [
        wire.ApiFailure,
        *(op.success for op in OPERATIONS),
        *(op.body for op in OPERATIONS if op.body),
    ]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=_SCHEMAS + "{model}",
        schema_generator=_PlainSchema,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Crucible sandbox", "version": "1.0.0"},
        "security": [{"BearerAuth": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer"}},
            "schemas": definitions["$defs"],
        },
    }


def _describe(operation: Operation) -> dict[str, Any]:
    responses = {str(status): _answer(operation.success) for status in operation.statuses}
    responses |= {str(status): _failure(code) for status, code in sorted(operation.failures.items())}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses,
    }
    if names := re.findall(r"\{(\w+)\}", operation.path):
        described["parameters"] = [_path_parameter(name) for name in names]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(_reference(operation.body))}
    if not operation.needs_key:
        described["security"] = []
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string"} if name == "workflow_id" else {"type": "string", "format": "uuid"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answer(model: type[wire.Success]) -> dict[str, Any]:
    return {"description": "Done", "content": _json(_reference(model))}


def _failure(code: str | None) -> dict[str, Any]:
    schema = _reference(wire.ApiFailure)
    if code is not None:
        schema = {"allOf": [schema, {"type": "object", "properties": {"code": {"const": code}}}]}
    return {"description": code or "Refused", "content": _json(schema)}


def _reference(model: type[wire.Body]) -> dict[str, Any]:
    return {"$ref": _SCHEMAS + model.__name__}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

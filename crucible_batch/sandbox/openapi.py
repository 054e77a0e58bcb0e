"""The OpenAPI 3.1 description of the gateway, made from the operations and the models that serve it."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from crucible_batch.sandbox import wire

# Which code goes with a failure status; None: more than one does.
_COMMON: dict[int, str | None] = {401: "UNAUTHORIZED", 500: "INTERNAL_ERROR"}
_PAID: dict[int, str | None] = {400: None, 402: "INSUFFICIENT_CREDITS"}
_NO_ASSET: dict[int, str | None] = {404: "ASSET_NOT_FOUND"}
_ASSET = "/api/v1/assets/{asset_id}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `refusals` are the failure statuses beside those that all calls with a key have."""

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    success: type[wire.Success]
    refusals: dict[int, str | None] = field(default_factory=dict)
    body: type[wire.Body] | None = None
    statuses: tuple[int, ...] = (200,)
    needs_key: bool = True

    @property
    def failures(self) -> dict[int, str | None]:
        """Each failure status with its code, or None where there are several."""
        return (_COMMON if self.needs_key else {}) | self.refusals


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "health", "GET", "/api/health", "Report that the gateway is up", wire.HealthSuccessResponse, needs_key=False
    ),
    Operation(
        "credits",
        "GET",
        "/api/v1/credits",
        "Give the balance and the newest ledger entries",
        wire.CreditsSuccessResponse,
    ),
    Operation("workflows", "GET", "/api/v1/workflows", "List the workflows", wire.WorkflowListSuccessResponse),
    Operation(
        "metadata",
        "GET",
        "/api/v1/workflows/{workflow_id}/metadata",
        "Describe one workflow",
        wire.WorkflowMetadataSuccessResponse,
        {404: "WORKFLOW_NOT_FOUND"},
    ),
    Operation("asset-list", "GET", "/api/v1/assets", "List the caller's assets", wire.AssetListSuccessResponse),
    Operation(
        "asset-create",
        "POST",
        "/api/v1/assets",
        "Pay for an upload and get its URL",
        wire.AssetCreateSuccessResponse,
        _PAID,
        wire.AssetCreateRequest,
        (201,),
    ),
    Operation("asset-get", "GET", _ASSET, "Show one asset", wire.AssetGetSuccessResponse, _NO_ASSET),
    Operation(
        "asset-delete", "DELETE", _ASSET, "Delete one asset for a rebate", wire.AssetDeleteSuccessResponse, _NO_ASSET
    ),
    Operation(
        "generate",
        "POST",
        "/api/v1/generate",
        "Buy a generation, or find the one that its idempotency key bought before",
        wire.GenerateSuccessResponse,
        {**_PAID, 404: "WORKFLOW_NOT_FOUND"},
        wire.GenerateRequest,
        (202, 200),
    ),
    Operation("job", "GET", "/api/v1/jobs/{job_id}", "Show one job", wire.JobSuccessResponse, {404: "JOB_NOT_FOUND"}),
)


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
    done = {"description": "Done", "content": _json(_reference(operation.success))}
    responses = {str(status): done for status in operation.statuses}
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


def _failure(code: str | None) -> dict[str, Any]:
    schema = _reference(wire.ApiFailure)
    if code is not None:
        schema = {"allOf": [schema, {"type": "object", "properties": {"code": {"const": code}}}]}
    return {"description": code or "Refused", "content": _json(schema)}


def _reference(model: type[wire.Body]) -> dict[str, Any]:
    return {"$ref": _SCHEMAS + model.__name__}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

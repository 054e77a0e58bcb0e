"""The sandbox's own description, held against the facts of contract 1.0.0 as this table has them.

The table is the test's own reading of the contract; the description is made from the code that serves it.
"""

from typing import Any

import pytest

from crucible_batch.sandbox.openapi import describe
from tests.case_table import each_case

# path, method, statuses of success, model of success, code by status of failure ("" where several codes may come).
UNAUTHORIZED, INTERNAL = {401: "UNAUTHORIZED"}, {500: "INTERNAL_ERROR"}
ALWAYS = {**UNAUTHORIZED, **INTERNAL}
PAID = {**ALWAYS, 400: "", 402: "INSUFFICIENT_CREDITS"}
OPERATIONS: list[tuple[str, str, set[int], str, dict[int, str]]] = [
    ("/api/health", "get", {200}, "HealthSuccessResponse", {}),
    ("/api/v1/credits", "get", {200}, "CreditsSuccessResponse", ALWAYS),
    ("/api/v1/workflows", "get", {200}, "WorkflowListSuccessResponse", ALWAYS),
    (
        "/api/v1/workflows/{workflow_id}/metadata",
        "get",
        {200},
        "WorkflowMetadataSuccessResponse",
        {**ALWAYS, 404: "WORKFLOW_NOT_FOUND"},
    ),
    ("/api/v1/assets", "get", {200}, "AssetListSuccessResponse", ALWAYS),
    ("/api/v1/assets", "post", {201}, "AssetCreateSuccessResponse", PAID),
    ("/api/v1/assets/{asset_id}", "get", {200}, "AssetGetSuccessResponse", {**ALWAYS, 404: "ASSET_NOT_FOUND"}),
    ("/api/v1/assets/{asset_id}", "delete", {200}, "AssetDeleteSuccessResponse", {**ALWAYS, 404: "ASSET_NOT_FOUND"}),
    ("/api/v1/generate", "post", {202, 200}, "GenerateSuccessResponse", {**PAID, 404: "WORKFLOW_NOT_FOUND"}),
    ("/api/v1/jobs/{job_id}", "get", {200}, "JobSuccessResponse", {**ALWAYS, 404: "JOB_NOT_FOUND"}),
]

# name:type, with ! for a field that must be there and ? for one that may be null. `true`, `false` and `=x` are
# constants, a|b|c an enumeration, [X] a list of X, a capital letter another schema, m..n the bounds of a length.
JOB_STATUS = "queued|running|succeeded|failed"
ANSWER = "success!:true request_id:string"
SCHEMAS = {
    "ApiFailure": "success!:false code!:string error!:string hint:string request_id:string",
    "HealthSuccessResponse": "success!:true data!:HealthData",
    "HealthData": "status!:=ok",
    "CreditsSuccessResponse": f"{ANSWER} data!:CreditsData",
    "CreditsData": "balance!:number reserved!:number available!:number recent_entries!:[CreditLedgerEntry]",
    "CreditLedgerEntry": (
        "id!:uuid job_id:uuid? entry_type!:string status!:string amount!:number description:string? created_at!:time"
    ),
    "WorkflowListSuccessResponse": f"{ANSWER} data!:WorkflowListData",
    "WorkflowListData": "workflows!:[WorkflowSummary]",
    "WorkflowSummary": "workflow_id!:string updated_at!:time",
    "WorkflowMetadataSuccessResponse": f"{ANSWER} data!:WorkflowMetadataData",
    "WorkflowMetadataData": "workflow_id!:string metadata!:open",
    "AssetCreateRequest": "mime_type!:string1..128 byte_size!:integer1 filename:string1..255 metadata:open",
    "AssetCreateSuccessResponse": f"{ANSWER} data!:AssetCreateData",
    "AssetCreateData": (
        "asset_id!:uuid bucket!:string object_path!:string upload_url!:string upload_token!:string "
        "upload_expires_at!:time credits_charged!:number"
    ),
    "AssetListSuccessResponse": f"{ANSWER} data!:AssetListData",
    "AssetListData": "assets!:[AssetDescriptor]",
    "AssetGetSuccessResponse": f"{ANSWER} data!:AssetDescriptor",
    "AssetDescriptor": (
        "asset_id!:uuid status!:pending_upload|ready|deleted mime_type!:string byte_size!:integer bucket!:string "
        "object_path!:string original_filename:string? metadata!:open created_at!:time upload_expires_at!:time "
        "download_url:string?"
    ),
    "AssetDeleteSuccessResponse": f"{ANSWER} data!:AssetDeleteData",
    "AssetDeleteData": "asset_id!:uuid deleted!:true credit_rebate!:number",
    "GenerateRequest": "workflow_id!:string1 params!:open idempotency_key:string1..128",
    "GenerateSuccessResponse": f"{ANSWER} data!:GenerateData",
    "GenerateData": f"job_id!:uuid status!:{JOB_STATUS} requested_credits!:number",
    "JobSuccessResponse": f"{ANSWER} data!:JobData",
    "JobData": (
        f"job_id!:uuid status!:{JOB_STATUS} workflow_id!:string requested_credits!:number error_code:string? "
        "error_message:string? outputs!:[JobOutput]"
    ),
    "JobOutput": (
        "id!:uuid job_id!:uuid output_index!:integer storage_provider!:string bucket:string? path:string? url:string? "
        "mime_type:string? width:integer? height:integer? metadata!:open created_at!:time"
    ),
}


def word(schema: dict[str, Any]) -> str:
    """Say what a field's schema allows, in the words of the table."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return str(schema["const"]).lower() if isinstance(schema["const"], bool) else f"={schema['const']}"
    if "enum" in schema:
        return "|".join(schema["enum"])
    kind, null = schema["type"], ""
    if isinstance(kind, list):
        kind, null = kind[0], "?"
    if kind == "array":
        return f"[{word(schema['items'])}]"
    if kind == "object":
        return "open" if schema["additionalProperties"] is True else "closed"
    kind = {"uuid": "uuid", "date-time": "time"}.get(schema.get("format", ""), kind)
    bounds = [str(schema[name]) for name in ("minimum", "minLength", "maxLength") if name in schema]
    return f"{kind}{'..'.join(bounds)}{null}"


def test_the_description_is_valid_openapi() -> None:
    from openapi_spec_validator import validate  # each worker imports this module: this takes 0.1 s

    validate(describe())


def test_it_has_the_operations_of_the_contract_and_no_others() -> None:
    found = {(path, method) for path, item in describe()["paths"].items() for method in item}
    assert found == {(path, method) for path, method, *_ in OPERATIONS}


@each_case("path, method, successes, model, failures", OPERATIONS)
def test_an_operation_answers_as_the_contract_says(
    path: str, method: str, successes: set[int], model: str, failures: dict[int, str]
) -> None:
    operation = describe()["paths"][path][method]
    assert (operation.get("security") == []) == (path == "/api/health")
    responses = {
        int(status): response["content"]["application/json"]["schema"]
        for status, response in operation["responses"].items()
    }
    assert responses.keys() == successes | failures.keys()
    assert {word(responses[status]) for status in successes} == {model}
    for status, code in failures.items():
        if code:
            failure, constant = responses[status]["allOf"]
            assert constant["properties"]["code"] == {"const": code}
        else:
            failure = responses[status]
        assert word(failure) == "ApiFailure"


@pytest.mark.parametrize(
    ("path", "model"), [("/api/v1/assets", "AssetCreateRequest"), ("/api/v1/generate", "GenerateRequest")]
)
def test_a_body_is_required_where_the_contract_has_one(path: str, model: str) -> None:
    body = describe()["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    assert word(body["content"]["application/json"]["schema"]) == model


def test_ids_in_paths_are_uuids_but_for_workflows() -> None:
    found = {
        parameter["name"]: word(parameter["schema"])
        for item in describe()["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", [])
    }
    assert found == {"workflow_id": "string", "asset_id": "uuid", "job_id": "uuid"}


def test_it_has_the_schemas_of_the_contract_and_no_others() -> None:
    assert describe()["components"]["schemas"].keys() == SCHEMAS.keys()


@each_case("name", SCHEMAS)
def test_a_schema_has_the_fields_of_the_contract(name: str) -> None:
    schema = describe()["components"]["schemas"][name]
    required = set(schema.get("required", []))
    found = {
        f"{field}{'!' if field in required else ''}:{word(described)}"
        for field, described in schema["properties"].items()
    }
    assert found == set(SCHEMAS[name].split())
    assert "additionalProperties" not in schema

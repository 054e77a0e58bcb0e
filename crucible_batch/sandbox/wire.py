"""The bodies of the contract, one model for each schema, under the same name. The OpenAPI description uses them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from crucible_batch.sandbox.records import AssetStatus, JobStatus

Credits = Annotated[Decimal, WithJsonSchema({"type": "number"})]
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
# A field that is left out when it is empty, unlike one that is sent as null.
Omittable = Annotated[str | None, WithJsonSchema({"type": "string"})]
FreeForm = dict[str, Any]


class Body(BaseModel):
    """A JSON object. Strict: the text "1" is not an integer, and 1 is not text."""

    model_config = ConfigDict(strict=True)


class ApiFailure(Body):
    success: Literal[False]
    code: str
    error: str
    hint: Omittable = None
    request_id: Omittable = None


class Success(Body):
    success: Literal[True]


class AnsweredSuccess(Success):
    request_id: Omittable = None


class HealthData(Body):
    status: Literal["ok"]


class HealthSuccessResponse(Success):
    data: HealthData


class CreditLedgerEntry(Body):
    id: Uuid
    job_id: Uuid | None = None
    entry_type: str
    status: str
    amount: Credits
    description: str | None = None
    created_at: datetime


class CreditsData(Body):
    balance: Credits
    reserved: Credits
    available: Credits
    recent_entries: list[CreditLedgerEntry]


class WorkflowSummary(Body):
    workflow_id: str
    updated_at: datetime


class WorkflowListData(Body):
    workflows: list[WorkflowSummary]


class WorkflowMetadataData(Body):
    workflow_id: str
    metadata: FreeForm


class AssetCreateRequest(Body):
    """An optional field that is not sent keeps its empty default; null is not allowed in its place."""

    mime_type: str = Field(min_length=1, max_length=128, description="Must start with image/")
    byte_size: int = Field(ge=1)
    filename: str = Field(default="", min_length=1, max_length=255)
    metadata: FreeForm = Field(default_factory=dict)


class AssetDescriptor(Body):
    asset_id: Uuid
    status: AssetStatus
    mime_type: str
    byte_size: int
    bucket: str
    object_path: str
    original_filename: str | None = None
    metadata: FreeForm
    created_at: datetime
    upload_expires_at: datetime
    download_url: str | None = None


class AssetCreateData(Body):
    asset_id: Uuid
    bucket: str
    object_path: str
    upload_url: str
    upload_token: str
    upload_expires_at: datetime
    credits_charged: Credits


class AssetListData(Body):
    assets: list[AssetDescriptor]


class AssetDeleteData(Body):
    asset_id: Uuid
    deleted: Literal[True]
    credit_rebate: Credits


class GenerateRequest(Body):
    """An optional field that is not sent keeps its empty default; null is not allowed in its place."""

    workflow_id: str = Field(min_length=1)
    params: FreeForm = Field(description="Values by the names in the workflow's metadata.available_fields")
    idempotency_key: str = Field(default="", min_length=1, max_length=128)


class GenerateData(Body):
    job_id: Uuid
    status: JobStatus
    requested_credits: Credits


class JobOutput(Body):
    id: Uuid
    job_id: Uuid
    output_index: int
    storage_provider: str
    bucket: str | None = None
    path: str | None = None
    url: str | None = None
    mime_type: str | None = None
    width: int | None = None
    height: int | None = None
    metadata: FreeForm
    created_at: datetime


class JobData(Body):
    job_id: Uuid
    status: JobStatus
    workflow_id: str
    requested_credits: Credits
    error_code: str | None = None
    error_message: str | None = None
    outputs: list[JobOutput]


def _answered(name: str, data: type[Body]) -> type[AnsweredSuccess]:
    return create_model(name, __base__=AnsweredSuccess, data=(data, ...))


CreditsSuccessResponse = _answered("CreditsSuccessResponse", CreditsData)
WorkflowListSuccessResponse = _answered("WorkflowListSuccessResponse", WorkflowListData)
WorkflowMetadataSuccessResponse = _answered("WorkflowMetadataSuccessResponse", WorkflowMetadataData)
AssetCreateSuccessResponse = _answered("AssetCreateSuccessResponse", AssetCreateData)
AssetListSuccessResponse = _answered("AssetListSuccessResponse", AssetListData)
AssetGetSuccessResponse = _answered("AssetGetSuccessResponse", AssetDescriptor)
AssetDeleteSuccessResponse = _answered("AssetDeleteSuccessResponse", AssetDeleteData)
GenerateSuccessResponse = _answered("GenerateSuccessResponse", GenerateData)
JobSuccessResponse = _answered("JobSuccessResponse", JobData)

"""The ten operations as a table: what is served, what is described, and what each may answer."""

from dataclasses import dataclass
from typing import Literal

from crucible_batch.sandbox import wire

# Which code goes with a failure status; None: more than one does.
_UNAUTHORIZED = {401: "UNAUTHORIZED"}
_INTERNAL = {500: "INTERNAL_ERROR"}
_COMMON: dict[int, str | None] = {**_UNAUTHORIZED, **_INTERNAL}
_UNPAID: dict[int, str | None] = {402: "INSUFFICIENT_CREDITS"}
_BAD: dict[int, str | None] = {400: None}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `failures` maps each failure status to its code, or to None where there are several."""

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    success: type[wire.Success]
    statuses: tuple[int, ...]
    failures: dict[int, str | None]
    body: type[wire.Body] | None = None

    @property
    def needs_key(self) -> bool:
        """Whether a request must carry an API key."""
        return 401 in self.failures


OPERATIONS: tuple[Operation, ...] = (
    Operation("health", "GET", "/api/health", "Say that the gateway is up", wire.HealthSuccessResponse, (200,), {}),
    Operation(
        "credits",
        "GET",
        "/api/v1/credits",
        "Give the balance and the newest ledger entries",
        wire.CreditsSuccessResponse,
        (200,),
        _COMMON,
    ),
    Operation(
        "workflows",
        "GET",
        "/api/v1/workflows",
        "List the workflows",
        wire.WorkflowListSuccessResponse,
        (200,),
        _COMMON,
    ),
    Operation(
        "metadata",
        "GET",
        "/api/v1/workflows/{workflow_id}/metadata",
        "Describe one workflow",
        wire.WorkflowMetadataSuccessResponse,
        (200,),
        {**_COMMON, 404: "WORKFLOW_NOT_FOUND"},
    ),
    Operation(
        "asset-list",
        "GET",
        "/api/v1/assets",
        "List the caller's assets",
        wire.AssetListSuccessResponse,
        (200,),
        _COMMON,
    ),
    Operation(
        "asset-create",
        "POST",
        "/api/v1/assets",
        "Pay for an upload and get its URL",
        wire.AssetCreateSuccessResponse,
        (201,),
        {**_COMMON, **_BAD, **_UNPAID},
        wire.AssetCreateRequest,
    ),
    Operation(
        "asset-get",
        "GET",
        "/api/v1/assets/{asset_id}",
        "Show one asset",
        wire.AssetGetSuccessResponse,
        (200,),
        {**_COMMON, 404: "ASSET_NOT_FOUND"},
    ),
    Operation(
        "asset-delete",
        "DELETE",
        "/api/v1/assets/{asset_id}",
        "Delete one asset for a rebate",
        wire.AssetDeleteSuccessResponse,
        (200,),
        {**_COMMON, 404: "ASSET_NOT_FOUND"},
    ),
    Operation(
        "generate",
        "POST",
        "/api/v1/generate",
        "Buy a generation, or find the one that its idempotency key bought before",
        wire.GenerateSuccessResponse,
        (202, 200),
        {**_COMMON, **_BAD, **_UNPAID, 404: "WORKFLOW_NOT_FOUND"},
        wire.GenerateRequest,
    ),
    Operation(
        "job",
        "GET",
        "/api/v1/jobs/{job_id}",
        "Show one job",
        wire.JobSuccessResponse,
        (200,),
        {**_COMMON, 404: "JOB_NOT_FOUND"},
    ),
)

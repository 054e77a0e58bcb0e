"""The report's models: the format of ``report.json``, version 1. Fields are added, never renamed."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer

from crucible_batch.domain.credits import format_credits

Amount = Annotated[
    Decimal,
    PlainSerializer(format_credits, return_type=str, when_used="json"),
    Field(description="Credits, as decimal text."),
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorRow(_Model):
    """Why something is not a success."""

    code: str = Field(description="The gateway's own code, or one of ours.")
    message: str
    hint: str | None = Field(default=None, description="What to do about it.")
    request_id: str | None = Field(default=None, description="What the gateway's support asks for.")


class AttemptRow(_Model):
    """One idempotency key, and what became of it."""

    idempotency_key: str
    job_id: str | None = Field(default=None, description="The gateway's id, once it has accepted the attempt.")
    status: str
    credits: Amount = Field(
        description="What the gateway asked for it, the highest figure it named; refunded where the attempt failed."
    )
    answer_credits: Amount | None = Field(
        default=None, description="What the answer to its submit named, where the job's record names another price."
    )
    record_credits: Amount | None = Field(default=None, description="What the job's record names, where it differs.")
    reused: bool = Field(default=False, description="Found at the gateway, and not bought by this run directory.")
    held_at: float = Field(description="Seconds since the epoch, UTC.")
    prepared_at: float | None = Field(default=None, description="When its input images were ready.")
    accepted_at: float | None = None
    running_at: float | None = Field(default=None, description="When a look at the gateway first found it running.")
    ended_at: float | None = None
    error: ErrorRow | None = None


class SentRow(_Model):
    """What the gateway sent, where the provenance was embedded in it."""

    sha256: str
    byte_size: int


class OutputRow(_Model):
    """One file that the job made."""

    index: int
    path: str = Field(description="Relative to the run directory.")
    sha256: str
    byte_size: int
    mime_type: str = Field(description="The true type, by the file's own bytes.")
    width: int
    height: int
    saved_at: float
    sent: SentRow | None = Field(
        default=None, description="What came, where the file is that with its provenance embedded; else null."
    )


class JobRow(_Model):
    """One job that the manifest asks for."""

    name: str
    status: Literal["succeeded", "failed", "blocked", "pending", "unknown"]
    workflow_id: str
    prompt: str | None = None
    params: dict[str, JsonValue] = Field(description="As sent, but for input images.")
    images: dict[str, str] = Field(default_factory=dict, description="Image parameters, with the image's SHA-256.")
    image_files: dict[str, str] = Field(default_factory=dict, description="Image parameters, with the image's file.")
    axes: dict[str, str] = Field(default_factory=dict, description="The job's place in its matrix.")
    repeat: int = Field(default=1, description="Which of several jobs that ask for the same; from 1.")
    job_id: str | None = None
    idempotency_key: str = Field(description="Of the newest attempt, or of the next where there was none.")
    attempts: list[AttemptRow] = Field(default_factory=list)
    credits: Amount = Field(description="Spent or held for this job, net of refunds.")
    outputs: list[OutputRow] = Field(default_factory=list)
    error: ErrorRow | None = None


class ManifestRow(_Model):
    """The manifest of the newest run."""

    name: str
    path: str
    sha256: str


class CreditsRow(_Model):
    """The books of the run directory, over all its runs."""

    budget: Amount | None = Field(description="The newest run's cap; null where there was none.")
    spent: Amount = Field(description="jobs + uploads - rebates.")
    held: Amount = Field(description="May yet be spent: jobs in flight, and answers that never came.")
    jobs: Amount = Field(description="Net of refunds.")
    reused: Amount = Field(
        default=Decimal(0),
        description="What of `jobs` was found at the gateway, paid before this directory knew of it.",
    )
    uploads: Amount
    lost_uploads: int = Field(
        default=0, description="Upload intents whose answer never came: whether they were charged isn't known."
    )
    rebates: Amount
    refunded: Amount
    over_budget: Amount = Field(description="By how much spent and held are beyond the budget.")
    price_differs: Amount = Field(
        default=Decimal(0),
        description="How far the prices in jobs' records are from those in the answers to their submits, added up.",
    )
    price_differs_jobs: int = Field(default=0, description="How many jobs that concerns.")


class CountsRow(_Model):
    """Jobs by what became of them."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    blocked: int = 0
    pending: int = 0
    unknown: int = 0
    reused: int = Field(default=0, description="Of the succeeded: found at the gateway, not bought by this run.")


class ReportHead(_Model):
    """All of a report but its jobs."""

    schema_version: Literal[1] = 1
    run_id: str
    status: str
    exit_code: int | None = Field(default=None, description="Null while the run is going on, or where it was killed.")
    manifest: ManifestRow
    started_at: str = Field(description="When the first run of this directory began, RFC 3339 in UTC.")
    finished_at: str | None = Field(default=None, description="When the newest run ended.")
    credits: CreditsRow
    counts: CountsRow
    stops: dict[str, ErrorRow] = Field(default_factory=dict, description="What was stopped, and why.")
    notes: list[str] = Field(
        default_factory=list, description="What the figures can't show: prices above every bound, what can't be seen."
    )


class Report(ReportHead):
    """A report as a whole, as ``report.json`` holds it."""

    jobs: list[JobRow]

"""The arguments of the tools, as a client sees them in their JSON schemas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Path = Annotated[str, Field(min_length=1, max_length=4000)]
_Text = Annotated[str, Field(max_length=4000)]
_Credits = Annotated[str, Field(max_length=40, pattern=r"^[0-9]+(\.[0-9]+)?$")]


class Arguments(BaseModel):
    """Arguments that a tool does not know are refused: a misspelled one must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class ValidateArguments(Arguments):
    manifest: _Path = Field(description="Path of a YAML manifest below the root directory.")
    variables: dict[str, _Text] = Field(default_factory=dict, description="Values of template variables.")


class PlanArguments(ValidateArguments):
    budget: _Credits | None = Field(
        default=None,
        description="Credits that may be spent in the run directory, over all runs in it; a decimal number as text."
        " Default: budget.credits of the manifest.",
    )
    run_dir: _Path | None = Field(
        default=None, description="Run directory below the root. Default: outputs/NAME/RUN_ID."
    )
    run_id: _Text | None = Field(
        default=None, description="Id of the run. A new id is a new run that pays for all of its jobs again."
    )
    only: list[_Text] = Field(default_factory=list, description="Names or patterns of the jobs to run. Default: all.")
    retry_failed: bool = Field(default=False, description="Buy failed jobs again.")


class RunArguments(PlanArguments):
    concurrency: int | None = Field(default=None, ge=1, le=10_000, description="Most jobs in flight. Default: adapted.")
    deadline_s: float | None = Field(
        default=None, gt=0, description="Stop after this many seconds; the same call resumes the run."
    )


class StatusArguments(Arguments):
    run_dir: _Path = Field(description="A run directory below the root, such as outputs/NAME/default.")


class ReportArguments(StatusArguments):
    status: Literal["succeeded", "failed", "blocked", "pending", "unknown"] | None = Field(
        default=None, description="Only jobs with this status. Default: all."
    )
    offset: int = Field(default=0, ge=0, description="Number of jobs to skip.")
    limit: int = Field(default=50, ge=1, le=200, description="Most jobs to return.")


class ExplainArguments(Arguments):
    code: str = Field(max_length=200, description="An error code, such as NO_ANSWER.")

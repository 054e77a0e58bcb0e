"""The report's models: the format of ``report.json``, version 1.

Fields are added, never renamed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer

from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.core.credits import format_credits
from crucible_batch.core.outcome import EVERYTHING, IN_DOUBT
from crucible_batch.core.plan import BudgetSource, NotifyOption
from crucible_batch.core.tally import Tally
from crucible_batch.errors import ExitCode

Amount = Annotated[
    Decimal,
    PlainSerializer(format_credits, return_type=str, when_used="json"),
    Field(description="Credits, as decimal text."),
]


class _Model(BaseModel):
    # Rows are made of the domain's values. They are first needed when the jobs of a run have ended,
    # and their validators take milliseconds to build.
    model_config = ConfigDict(frozen=True, from_attributes=True, defer_build=True)


class ErrorRow(_Model):
    """An error of a job, an attempt or a run."""

    code: str = Field(description="Error code of the gateway or of crucible-batch.")
    message: str = Field(description="Description of the error.")
    hint: str | None = Field(default=None, description="What to do next.")
    request_id: str | None = Field(
        default=None, description="Id of the failed request, for the gateway's support."
    )


class AttemptRow(_Model):
    """One attempt at a job, with its own idempotency key."""

    idempotency_key: str = Field(
        validation_alias=AliasChoices("idempotency_key", "key"),
        description="Idempotency key of the attempt.",
    )
    job_id: str | None = Field(
        default=None, description="Id of the job at the gateway, if the attempt was accepted."
    )
    status: str = Field(description="State of the attempt.")
    credits: Amount = Field(description="Highest price that the gateway returned.")
    answer_credits: Amount | None = Field(
        default=None,
        validation_alias=AliasChoices("answer_credits", "answered"),
        description="Price in the response to the submit, if the job's record has another price.",
    )
    record_credits: Amount | None = Field(
        default=None,
        validation_alias=AliasChoices("record_credits", "recorded"),
        description="Price in the job's record, if it differs.",
    )
    reused: bool = Field(
        default=False, description="Found at the gateway, not bought by this run directory."
    )
    held_at: float = Field(
        description="When its credits were held, in seconds since the epoch, UTC."
    )
    prepared_at: float | None = Field(default=None, description="When its input images were ready.")
    accepted_at: float | None = Field(default=None, description="When the gateway accepted it.")
    running_at: float | None = Field(
        default=None, description="When a poll first found it running."
    )
    ended_at: float | None = Field(default=None, description="When its end was first detected.")
    error: ErrorRow | None = Field(default=None, description="Why the attempt failed.")


class SentRow(_Model):
    """The file that the gateway sent, before metadata was embedded."""

    sha256: str = Field(description="SHA-256 of that file.")
    byte_size: int = Field(description="Size in bytes.")


class CheckRow(_Model):
    """A check that an output did not pass, or that could not be made."""

    check: str = Field(description="Name of the check, as in the manifest.")
    verdict: Literal["flag", "reject", "fail", "unchecked"] = Field(
        description="What the manifest has for such outputs; "
        "`unchecked` if the check could not be made."
    )
    reason: str = Field(description="What was found, or why the check could not be made.")


class ChecksRow(_Model):
    """Number of outputs, by the results of the checks of the manifest."""

    checked: int = Field(default=0, description="Outputs with the results of all their checks.")
    flagged: int = Field(default=0, description="Outputs that a check with `flag` has marked.")
    rejected: int = Field(default=0, description="Outputs that a check with `reject` has rejected.")
    failed: int = Field(default=0, description="Outputs whose job a check with `fail` has failed.")
    unchecked: int = Field(default=0, description="Outputs with a check that could not be made.")
    by_check: dict[str, int] = Field(
        default_factory=dict, description="Outputs that did not pass, by the name of the check."
    )


class AfterRow(_Model):
    """Number of outputs, by the outcome of the manifest's `after` command."""

    done: int = Field(default=0, description="Outputs for which the command has succeeded.")
    failed: int = Field(
        default=0, description="Outputs for which it has failed; the next run tries again."
    )
    waiting: int = Field(
        default=0, description="Outputs for which it was not run yet, since the run was stopped."
    )


class DerivedRow(_Model):
    """A further form of an output."""

    path: str = Field(description="Relative to the run directory.")
    format: Literal["webp", "jpeg", "avif"] = Field(description="Format, as in the manifest.")
    sha256: str | None = Field(
        default=None, description="SHA-256 of the file; null if it could not be made."
    )
    byte_size: int = Field(default=0, description="Size in bytes.")
    width: int = Field(default=0, description="Width in pixels.")
    height: int = Field(default=0, description="Height in pixels.")
    error: str | None = Field(default=None, description="Why it could not be made.")


class OutputRow(_Model):
    """An output file of a job."""

    index: int = Field(description="Number of the output in its job, from 0.")
    path: str = Field(description="Relative to the run directory.")
    sha256: str = Field(description="SHA-256 of the file on disk.")
    byte_size: int = Field(description="Size in bytes.")
    mime_type: str = Field(description="Type by the content of the file.")
    width: int = Field(description="Width in pixels.")
    height: int = Field(description="Height in pixels.")
    saved_at: float = Field(
        validation_alias=AliasChoices("saved_at", "at"),
        description="When it was saved, in seconds since the epoch, UTC.",
    )
    sent: SentRow | None = Field(
        default=None, description="The file that the gateway sent, if metadata was embedded."
    )
    generation: int = Field(
        default=0, description="How often the job was asked for before it made this output."
    )
    rejected: str | None = Field(
        default=None, description="Why it was rejected; empty if no reason was given."
    )
    checks: list[CheckRow] = Field(
        default_factory=list,
        description="Checks of the manifest that it did not pass, or that could not be made.",
    )
    derived: list[DerivedRow] = Field(
        default_factory=list, description="Its further forms, if the manifest has `derive`."
    )


class SourceRow(_Model):
    """The output of another job from which a job of a later stage is made."""

    name: str = Field(description="Name of the source: the job that made the output.")
    index: int = Field(description="Number of the output in its job, from 0.")
    path: str | None = Field(default=None, description="Relative to the run directory.")
    sha256: str | None = Field(default=None, description="SHA-256 of that file.")


class JobRow(_Model):
    """One job of the manifest."""

    name: str = Field(description="Name of the job.")
    status: Literal["succeeded", "failed", "blocked", "pending", "unknown"] = Field(
        description="Outcome of the job."
    )
    workflow_id: str = Field(description="Id of its workflow.")
    prompt: str | None = Field(default=None, description="Rendered prompt.")
    params: dict[str, JsonValue] = Field(description="Parameters as sent, without input images.")
    images: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of each input image, by parameter."
    )
    image_files: dict[str, str] = Field(
        default_factory=dict, description="File of each input image, by parameter."
    )
    axes: dict[str, str] = Field(
        default_factory=dict, description="Values of the job's axes, by name."
    )
    row: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Values of the job's table row: one line each, without control characters, "
            "at most 200 characters each and 2,000 in all."
        ),
    )
    repeat: int = Field(default=1, description="Number of this repeat of the job, from 1.")
    source: SourceRow | None = Field(
        default=None, description="Output from which the job is made (`from`)."
    )
    job_id: str | None = Field(default=None, description="Id of the newest job at the gateway.")
    idempotency_key: str = Field(description="Key of the newest attempt, or of the first one.")
    attempts: list[AttemptRow] = Field(
        default_factory=list, description="Attempts at its newest generation, in order."
    )
    credits: Amount = Field(
        description="Credits spent or held for its newest generation, net of refunds."
    )
    outputs: list[OutputRow] = Field(default_factory=list, description="Saved outputs.")
    takes: list[OutputRow] = Field(
        default_factory=list,
        description="Outputs of other generations of the job: rejected ones, and later ones.",
    )
    generation: int = Field(
        default=0, description="How often the job was asked for again, since outputs were rejected."
    )
    error: ErrorRow | None = Field(default=None, description="Why the job did not succeed.")


class ManifestRow(_Model):
    """The manifest of the newest run."""

    name: str = Field(description="Name in the manifest.")
    path: str = Field(description="Path of the file.")
    sha256: str = Field(description="SHA-256 of the file.")


class CreditsRow(_Model):
    """Credits of the run directory, over all its runs."""

    budget: Amount | None = Field(description="Budget of the newest run.")
    spent: Amount = Field(description="jobs + uploads - rebates.")
    held: Amount = Field(
        description=(
            "Credits that may still be spent: jobs in flight, unanswered submits, "
            "failed jobs whose refund the gateway's ledger has not shown, "
            "and what is set aside for shards."
        )
    )
    set_aside: Amount = Field(
        default=Decimal(0), description="Part of `held` for shards that are not merged yet."
    )
    held_for_refunds: Amount = Field(
        default=Decimal(0), description="Part of `held` for such failed jobs."
    )
    forgotten_refunds: Amount = Field(
        default=Decimal(0),
        description="Credits for refunds that were not visible, released by a person.",
    )
    jobs: Amount = Field(description="Credits for jobs, net of refunds.")
    reused: Amount = Field(
        default=Decimal(0),
        description="Part of `jobs` that was found at the gateway.",
    )
    uploads: Amount
    lost_uploads: int = Field(default=0, description="Number of uploads without a response.")
    rebates: Amount
    refunded: Amount = Field(
        description="Credits of failed jobs that the gateway's ledger shows as refunded."
    )
    over_budget: Amount = Field(
        description=(
            "Amount by which spent + held exceeds the budget, "
            "without refunds of jobs that were found again."
        )
    )
    price_differs: Amount = Field(
        default=Decimal(0),
        description=(
            "Sum of the differences between prices in jobs' records "
            "and in the responses to their submits."
        ),
    )
    price_differs_jobs: int = Field(default=0, description="Number of jobs with such a difference.")

    @property
    def bought(self) -> Decimal:
        """The credits that this run directory itself has paid."""
        return self.spent - self.reused


class PeriodRow(_Model):
    """The budget of a period at the end of the newest run: sums over all runs of its account."""

    account: str = Field(description="Name of the account.")
    per: Literal["day", "week", "month"] = Field(description="Length of the period.")
    limit: Amount = Field(description="Limit of the period, from the manifest.")
    spent: Amount = Field(description="Credits spent in the period.")
    set_aside: Amount = Field(description="Credits that are set aside or held, and not spent.")
    until: str = Field(
        description="End of the period, as local time with the name of the time zone."
    )
    ends_at: str | None = Field(default=None, description="End of the period, RFC 3339 in UTC.")
    exhausted: bool = Field(
        default=False, description="The period had too few credits for the next job."
    )


class OutcomeCounts(_Model):
    """Number of jobs, by outcome."""

    total: int = Field(default=0, description="All jobs.")
    succeeded: int = Field(default=0, description="Jobs with all outputs on disk.")
    failed: int = Field(default=0, description="Jobs that failed.")
    blocked: int = Field(default=0, description="Jobs not started because of missing credits.")
    pending: int = Field(default=0, description="Jobs not finished when the run ended.")
    unknown: int = Field(
        default=0, description="Jobs with an unknown outcome; their credits remain held."
    )


class CountsRow(OutcomeCounts):
    """Number of jobs, by outcome."""

    reused: int = Field(
        default=0,
        description="Succeeded jobs that were found at the gateway and not bought by this run.",
    )

    @classmethod
    def of(cls, tally: Tally) -> CountsRow:
        return cls(total=tally.total, reused=tally.reused, **tally.counts)


class _PickingRow(_Model):
    name: str = Field(description="Name of the entry, as in the manifest.")
    sources: str = Field(
        description="Pattern of the names of the jobs whose outputs may be picked."
    )
    pick: str = Field(description="Picks file, relative to the manifest.")


class WaitingRow(_PickingRow):
    """A stage of the manifest that has no jobs yet, since its picks file is missing."""

    choices: int = Field(description="Number of jobs whose outputs may be picked.")


class PicksRow(_PickingRow):
    """An entry of the manifest with `pick`, whether or not it waits for its picks file."""

    before: int = Field(
        description="Number of jobs of the entries above, which come first in `jobs`."
    )


class EntryRow(_Model):
    """An entry of a manifest with stages."""

    name: str = Field(description="Name of the entry, as in the manifest.")
    before: int = Field(
        description="Number of jobs of the entries above, which come first in `jobs`."
    )
    sources: str | None = Field(default=None, description="Pattern of its `from`; null without it.")


class AllJobsRow(_Model):
    """What all jobs of the manifest would cost, after a run of a few of them."""

    option: str = Field(description="Option that chose the jobs, such as `--sample`.")
    number: int = Field(description="Number of jobs that it chose.")
    jobs: int = Field(description="Number of all jobs that are known.")
    credits: Amount = Field(description="What all jobs cost at the prices that were paid.")
    more_credits: Amount = Field(description="Part of `credits` that is not spent or held yet.")
    more_seconds: float | None = Field(
        description="How long the other jobs take at the pace of those that were tried."
    )
    unknown_prices: list[str] = Field(
        default_factory=list,
        description="Workflows whose price is unknown, so that their jobs count at 0.",
    )


class ReportHead(_Model):
    """The fields of a report except its jobs."""

    schema_version: Literal[1] = Field(default=1, description="Version of the report format.")
    run_id: str = Field(description="Id of the run.")
    status: str = Field(description="Status of the run.")
    exit_code: int | None = Field(
        default=None,
        description="Null while the run is active or divided into shards, or if it was killed.",
    )
    shard: str | None = Field(default=None, description='Shard of a divided plan, such as "3/8".')
    manifest: ManifestRow
    scheduled_at: str | None = Field(
        default=None,
        description="Scheduled time of the newest run, if a template uses it, RFC 3339 in UTC.",
    )
    started_at: str = Field(description="Start of the first run, RFC 3339 in UTC.")
    finished_at: str | None = Field(default=None, description="End of the newest run.")
    credits: CreditsRow
    budget_source: BudgetSource | None = Field(
        default=None,
        description=(
            "Where the budget of the newest run was set: "
            "by the `command` (`--budget`) or in the `manifest`."
        ),
    )
    notify_option: NotifyOption | None = Field(
        default=None,
        description="Option for notifications, which the next run has to repeat.",
    )
    period: PeriodRow | None = Field(
        default=None, description="Budget of the period (`budget.per`)."
    )
    counts: CountsRow
    checks: ChecksRow | None = Field(
        default=None, description="Results of the checks of outputs, if the manifest has `checks`."
    )
    after: AfterRow | None = Field(
        default=None,
        description="Results of the command for each output, if the manifest has `after`.",
    )
    stops: dict[str, ErrorRow] = Field(
        default_factory=dict, description="Reasons why workflows or the run were stopped."
    )
    notes: list[str] = Field(
        default_factory=list,
        description="Notes on the figures, such as unknown costs.",
    )
    all_jobs: AllJobsRow | None = Field(
        default=None,
        description="What all jobs would cost, if the newest run was of a few (`--sample`).",
    )
    waiting: list[WaitingRow] = Field(
        default_factory=list, description="Stages that wait for a picks file."
    )
    picks: list[PicksRow] = Field(
        default_factory=list, description="Entries of the manifest with `pick`."
    )
    entries: list[EntryRow] = Field(
        default_factory=list,
        description="All entries of the manifest, in order, if it has entries with `from`.",
    )
    takes: int = Field(
        default=0,
        description="Number of outputs that are kept beside those that count, since jobs were asked"
        " for again.",
    )

    @property
    def is_short_of_credits(self) -> bool:
        """Whether the run ended because credits were missing.

        They were missing for the next job, or to send one in doubt again.
        """
        is_in_doubt = IN_DOUBT in self.stops and EVERYTHING not in self.stops
        return is_in_doubt or self.exit_code == ExitCode.OUT_OF_CREDITS

    @property
    def is_short_of_budget(self) -> bool:
        """Whether the run ended because the next job didn't fit its own budget.

        It is False if the job didn't fit the budget of the period.
        """
        if self.period is not None and self.period.exhausted:
            return False
        if not self.is_short_of_credits:
            return False
        return any(stop.code == BUDGET_EXHAUSTED for stop in self.stops.values())


class Report(ReportHead):
    """The content of ``report.json``."""

    jobs: list[JobRow] = Field(description="Jobs in manifest order.")

"""Pydantic models of a manifest, version 1: types and known keys. The JSON Schema is made from
them.

The models are the shape alone. What relates one field to another is in ``validation``, what needs
files or templates in ``expand``. Messages of pydantic never reach the author: ``validation`` words
them for the manifest.

A feature adds keys with a subclass of ``Header``, ``Budget``, ``Provenance`` or ``JobEntry`` in its
``manifest_keys.py``, which ``extension.py`` finds. Methods without effect here are what such a
class may override.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from crucible_batch.errors import Problem
from crucible_batch.manifest.field_types import (
    Axes,
    Concurrency,
    Duration,
    Identifier,
    OptionalAxes,
    OptionalCredits,
    OptionalText,
    OrCredits,
    Parameters,
    Text,
    Timezone,
    version_number,
)
from crucible_batch.manifest.source_map import SourceNode


class Part(BaseModel):
    """A part of a manifest. Other keys than its fields are refused, and values of another type."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=False
    )


_EXTENDED = ConfigDict(defer_build=True)
"""Of a model that features extend: only what is made of it by ``extension`` is compiled."""


class Fields(Part):
    """Parameters of the workflow that receive the prompt and the image, if they do not have the
    usual names."""

    prompt: OptionalText = Field(
        None,
        description="Parameter that receives `prompt:`.",
        examples=["prompt.text", "positive.value"],
    )
    image: OptionalText = Field(
        None,
        description="Parameter that receives `image:`.",
        examples=["image.image", "source.image"],
    )


class WorkflowDefaults(Part):
    """Defaults for the jobs of one workflow."""

    params: Parameters = Field(
        default_factory=dict,
        description="Default parameters for jobs of this workflow; "
        "parameters of a job override them.",
    )
    fields: Fields = Field(
        default_factory=Fields, description="Parameters that receive the prompt and the image."
    )


class Budget(Part):
    """Limits on spending."""

    model_config = _EXTENDED

    credits: OptionalCredits = Field(
        None,
        description="Limit on credits for uploads and jobs together, "
        "over all runs in one run directory.",
        examples=[250, "12.5"],
    )
    max_credits_per_job: OptionalCredits = Field(
        None,
        description="Maximum price of one job. It is held for each job until the gateway returns "
        "the price. No more jobs are submitted after a price above it.",
        examples=[4],
    )
    max_credits_per_upload: OptionalCredits = Field(
        None,
        description="Maximum price of uploading one input image, with the same rules.",
        examples=[1],
    )

    @property
    def period(self) -> str | None:
        """What ``credits`` is the limit for, such as a month of several runs; None: the runs of one
        directory.
        """
        return None

    @property
    def shared_as(self) -> str | None:
        """The name under which other manifests share it; None if they don't."""
        return None

    def problems(self, site: SourceNode) -> Iterator[Problem]:
        """Yield the problems of what a feature adds. ``site`` is the manifest."""
        return iter(())


class Output(Part):
    """Where outputs are written, relative to the run directory."""

    path: Text = Field(
        "{name}/{index}{ext}",
        description="Pattern with {name}, {workflow}, {index} and {ext}; / separates folders.",
        examples=["{name}/{index}{ext}", "{workflow}/{name}-{index}{ext}"],
    )


class Retry(Part):
    """Retries of jobs that the gateway reports as failed."""

    attempts: int = Field(
        3, ge=1, le=100, description="Maximum number of attempts for a job, including the first."
    )
    never: list[Text] = Field(
        default_factory=list,
        description="Error codes of the gateway that are not retried.",
        examples=[["NSFW_REJECTED"]],
    )


class Assets(Part):
    """What happens to uploaded input images after a run."""

    cleanup: Literal["never", "on_success"] = Field(
        "never",
        description="on_success: delete the images that this run uploaded when every job has "
        "succeeded. The gateway refunds a part of their price.",
    )


class Provenance(Part):
    """Where the origin of an output (job, prompt, parameters) is recorded."""

    model_config = _EXTENDED

    sidecar: bool = Field(
        False, description="Write a JSON file beside each output, such as 0.png.json."
    )
    embed: bool = Field(
        False,
        description="Embed it in the output as well: PNG text, XMP of JPEG and WebP. "
        "Pixels are not changed.",
    )

    def properties(self) -> Iterator[str]:
        """Yield the names of the properties of features that are embedded in outputs."""
        return iter(())


class JobEntry(Part):
    """An entry of `jobs`: one job, or several with matrix, zip, foreach and repeat."""

    model_config = _EXTENDED

    name: Text = Field(
        description="Name of the job and its outputs; a template. "
        "Values of axes that it does not use are appended.",
        examples=["hero", "sku-{{ row.sku }}"],
    )
    prompt: OptionalText = Field(
        None,
        description="Prompt; a template. @path reads it from a file; @@ is a literal @.",
        examples=["A {{ style }} portrait of a lighthouse", "@prompts/hero.txt"],
    )
    image: OptionalText = Field(
        None,
        description="Input image, relative to the manifest; a template.",
        examples=["photos/{{ row.sku }}.jpg"],
    )
    images: dict[Text, Text] = Field(
        default_factory=dict,
        description="Other input images, by parameter name.",
        examples=[{"mask.image": "masks/hero.png"}],
    )
    workflow: OptionalText = Field(
        None, description="Id of the workflow, if it is not the default; a template."
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters of this job. A string that is one {{ expression }} keeps "
        "the type of its value.",
        examples=[{"sampler.seed": "{{ row.seed | int }}", "size.width": 1024}],
    )
    matrix: OptionalAxes = Field(
        None,
        description="One job for each combination of values; the last axis varies fastest. "
        "Replaces the top-level matrix; {} disables it.",
        examples=[{"style": ["noir", "watercolor"]}],
    )
    zip: Axes = Field(
        default_factory=dict,
        description="Lists of equal length; one job for each position.",
        examples=[{"photo": ["a.jpg", "b.jpg"], "title": ["Alps", "Baltic"]}],
    )
    foreach: OptionalText = Field(
        None,
        description="A .csv, .tsv or .jsonl file, a .txt file with one prompt per line "
        "(`row.line`), or a glob of files: one job per row, as `row` in templates.",
        examples=["products.csv", "prompts.txt", "photos/*.jpg"],
    )
    repeat: int = Field(
        1, ge=1, description="Number of times the job is run; `repeat` in templates, from 1."
    )
    fields: Fields = Field(
        default_factory=Fields,
        description="Parameters that receive the prompt and the image, for this job.",
    )

    @property
    def is_derived(self) -> bool:
        """Whether a feature makes its jobs, from outputs of other jobs: a run may then add jobs to
        its plan.
        """
        return False

    def expander(self) -> Any:
        """Return what makes the jobs of derived entries, as ``EntryExpander`` describes it."""

    def later_jobs(self, *plan: object) -> Any:
        """Return the jobs that a run may add to its plan, as ``runs/later_jobs.py`` describes."""

    @property
    def reads_files(self) -> bool:
        """Whether a feature reads further files of the manifest's directory for these jobs."""
        return False

    @property
    def times(self) -> int:
        """How many jobs are made of each row and combination, with numbers from 1 as ``repeat``."""
        return self.repeat

    def drawn(self, context: Any, site: SourceNode, faults: Any) -> Sequence[Mapping[str, Any]]:
        """Return the values of further axes, for each of these jobs; nothing if there are none.

        ``context`` is the ``ExpansionContext``, ``site`` the entry. Problems are added to
        ``faults``, which are ``JobProblems``.
        """
        return ()

    def table_reader(self, suffix: str) -> Any:
        """Return what yields the rows of a table of this kind, as the readers of ``table_rows`` do;
        None if no feature reads it.

        Raises ``FileFault`` if it can't be read here.
        """

    def programs(self) -> Iterator[str]:
        """Yield the programs that are started for its jobs, which has to be allowed."""
        return iter(())

    def problems(self, header: Header, site: SourceNode) -> Iterator[Problem]:
        """Yield the problems of what a feature adds. ``site`` is the entry."""
        return iter(())


class Header(Part):
    """A manifest without its jobs, which are checked one by one."""

    model_config = _EXTENDED

    version: Annotated[Literal[1], BeforeValidator(version_number)] = Field(
        description="Version of the manifest format."
    )
    name: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)
    ] = Field(description="Name of the run and its directory.", examples=["spring-campaign"])
    workflow: OptionalText = Field(
        None, description="Id of the default workflow.", examples=["zimage-base"]
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Default parameters for jobs of the default workflow.",
        examples=[{"size.width": 1024}],
    )
    workflows: dict[Text, WorkflowDefaults] = Field(
        default_factory=dict, description="Defaults for other workflows, by workflow id."
    )
    budget: Annotated[Budget, OrCredits()] = Field(
        default_factory=Budget,
        description="Limits on spending. With a budget, "
        "`run` does not ask for confirmation. A number is `credits`.",
        examples=[250],
    )
    vars: dict[Identifier, Any] = Field(
        default_factory=dict,
        description="Variables for templates; `--var name=value` overrides them.",
        examples=[{"brand": "Acme"}],
    )
    matrix: Axes = Field(
        default_factory=dict, description="Axes of every job without a matrix of its own."
    )
    concurrency: Concurrency = Field(
        None,
        description="Maximum number of jobs in flight, or `auto`, which adapts it to what the "
        "gateway accepts. The option `--concurrency` overrides it.",
        examples=[16, "auto"],
    )
    deadline: Duration = Field(
        None,
        description="Stop a run after this time, planning included; the same command resumes. "
        "Plain numbers are seconds. The option `--deadline` overrides it.",
        examples=["6h", "1h30m"],
    )
    run_id: OptionalText = Field(
        None,
        description="Run id, if the option `--run-id` is not given; a template with date, week, "
        "month and scheduled_at. The same id resumes a run, and with a new one, its jobs are "
        "bought again.",
        examples=["{{ date }}"],
    )
    timezone: Timezone = Field(
        None,
        description="Time zone of dates in templates and of budget periods; UTC by default.",
        examples=["Europe/Berlin"],
    )
    output: Output = Field(default_factory=Output, description="Where outputs are written.")
    retry: Retry = Field(default_factory=Retry, description="Retries of failed jobs.")
    assets: Assets = Field(
        default_factory=Assets, description="What happens to uploaded input images."
    )
    provenance: Provenance = Field(
        default_factory=Provenance, description="Where the origin of outputs is recorded."
    )
    duplicates: Literal["error", "once", "each"] = Field(
        "error",
        description="What happens to jobs with the same content: report an error, "
        "run one of them, or run each.",
    )

    @property
    def zone_name(self) -> str | None:
        """The name of the time zone of dates and budget periods; None for UTC."""
        return self.timezone

    @property
    def is_scheduled(self) -> bool:
        """Whether the manifest has a schedule."""
        return False

    def times_until(self, now: datetime) -> Iterator[datetime]:
        """Yield the scheduled times at or before ``now``, latest first, without an end; none
        without a schedule."""
        return iter(())

    def times_after(self, now: datetime) -> Iterator[datetime]:
        """Yield the scheduled times after ``now``, without an end; none without a schedule."""
        return iter(())

    @property
    def sends_messages(self) -> bool:
        """Whether messages are sent about runs, which an option can turn off."""
        return False

    def programs(self) -> Iterator[str]:
        """Yield the programs that runs start, which has to be allowed."""
        return iter(())

    def sources(self) -> Iterator[str]:
        """Yield where runs read values from that are not in the manifest: ``env:NAME`` or
        ``file:PATH``.
        """
        return iter(())

    def filler(self, site: SourceNode, entries: Sequence[Any]) -> Any:
        """Return what fills a parameter by the identity of jobs, as ``ParameterFiller`` of the
        planner describes it; None: nothing does.

        ``site`` is the manifest, ``entries`` are its entries, as ``Manifest`` has them.
        """

    def problems(self, site: SourceNode) -> Iterator[Problem]:
        """Yield the problems of what a feature adds. ``site`` is the manifest."""
        yield from self.budget.problems(site)

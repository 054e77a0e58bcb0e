"""The tools and their arguments.

Each tool returns the envelope that its command writes with ``--json``.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, Self

import anyio
import httpx
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from rich.console import Console

from crucible_batch.cli.account import metadata_of, workflow_ids, workflow_json
from crucible_batch.cli.command_output import CommandOutput, recording
from crucible_batch.cli.ending import FinishedRun, show_run_ending
from crucible_batch.cli.explain import explain, list_codes
from crucible_batch.cli.redaction import in_json, redacted
from crucible_batch.cli.render.plan import plan_json
from crucible_batch.cli.render.summary import head_json
from crucible_batch.cli.runs import show_run_or_runs
from crucible_batch.cli.terminal import Json
from crucible_batch.cli.validate import validate_all
from crucible_batch.core.credits import format_credits
from crucible_batch.features import exists, found, load
from crucible_batch.features.agents.mcp_server.active_run import (
    ActiveRun,
    SendProgress,
    StoppablePart,
)
from crucible_batch.features.agents.mcp_server.confinement import Root
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.features.registry import kind_of, plan_kind_of
from crucible_batch.runs.connecting import connect
from crucible_batch.runs.keywords import OfFeature, values_of
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.reporting import report_rows
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request
from crucible_batch.runs.status import read_status
from crucible_batch.settings import Settings
from crucible_batch.shell_command import DEFAULT_DIRECTORY, run_command

MOST_BYTES = 60_000
"""A page of a report ends after the job with which its text becomes longer than this."""
MOST_WORKFLOWS = 50
"""Of further workflows only the ids are listed: each is a request of its own."""
_ESSENTIALS: Any = {
    "name": True,
    "status": True,
    "credits": True,
    "outputs": {"__all__": {"path", "checks"}},
    "error": {"code", "message"},
}
"""The fields of a job that a report has without ``details``, some 100 bytes for each job."""
MOST_RUNS = 50
"""A list of runs has the newest of them only."""
LONGEST_TEXT = 2_000
"""Longer texts, such as prompts, are cut to this many characters, the last of which is an ellipsis.
"""

_Path = Annotated[str, Field(min_length=1, max_length=4000)]
_Text = Annotated[str, Field(max_length=4000)]


def _credits_text(given: object) -> object:
    """Return a number as decimal text.

    A float becomes the shortest text of the same value, which is what was written.
    """
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    return f"{Decimal(str(given)):f}"


_Credits = Annotated[
    str,
    BeforeValidator(_credits_text),
    Field(max_length=40, pattern=r"^[0-9]+(\.[0-9]+)?$"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]


class Arguments(BaseModel):
    """Arguments that a tool does not know are refused: a misspelled one must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        """Refuse arguments of features that were deleted, as those that were never known."""
        for name in sorted(self.model_fields_set):
            for mark in type(self).model_fields[name].metadata:
                if isinstance(mark, OfFeature) and not exists(mark.name):
                    raise ValueError(f"{name} is not permitted")
        return self


class ValidateArguments(Arguments):
    manifest: _Path = Field(description="Path of a YAML manifest below the root directory.")
    variables: dict[str, _Text] = Field(
        default_factory=dict, description="Values of template variables."
    )


class PlanArguments(ValidateArguments):
    budget: _Credits | None = Field(
        default=None,
        description=(
            "Credits that may be spent in the run directory, over all runs in it;"
            " a number, or decimal text. Default: budget.credits of the manifest."
        ),
    )
    run_dir: _Path | None = Field(
        default=None, description="Run directory below the root. Default: outputs/NAME/RUN_ID."
    )
    run_id: _Text | None = Field(
        default=None,
        description="Id of the run. A new id is a new run that pays for all of its jobs again.",
    )
    only: list[_Text] = Field(
        default_factory=list, description="Names or patterns of the jobs to run. Default: all."
    )
    first: Annotated[int | None, OfFeature("sample")] = Field(
        default=None, ge=1, description="Only the first jobs of the manifest, this many."
    )
    sample: Annotated[int | None, OfFeature("sample")] = Field(
        default=None,
        ge=1,
        description=(
            "Only this many jobs from all over the manifest, the same ones each time:"
            " show them to the user before you run all."
        ),
    )
    retry_failed: bool = Field(default=False, description="Buy failed jobs again.")


class RunArguments(PlanArguments):
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="Most jobs in flight. Default: adapted."
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        description="Stop after this many seconds; the same call resumes the run.",
    )


class StatusArguments(Arguments):
    run_dir: _Path = Field(
        description="A run directory below the root, such as outputs/NAME/default."
    )


class ListArguments(Arguments):
    run_dir: _Path = Field(
        default=str(DEFAULT_DIRECTORY),
        description=(
            "A run directory below the root, such as outputs/NAME/default; or a directory with"
            " runs, which are listed. Default: outputs."
        ),
    )


class ReportArguments(StatusArguments):
    status: Literal["succeeded", "failed", "blocked", "pending", "unknown"] | None = Field(
        default=None, description="Only jobs with this status. Default: all."
    )
    offset: int = Field(default=0, ge=0, description="Number of jobs to skip.")
    limit: int = Field(default=50, ge=1, le=200, description="Most jobs to return.")
    details: bool = Field(
        default=False,
        description=(
            "All of each job: prompt, parameters, attempts, checksums, earlier outputs that were"
            " rejected. Default: the essentials."
        ),
    )


class RejectArguments(StatusArguments):
    names: list[_Text] = Field(
        min_length=1, max_length=1000, description="Jobs, or NAME/INDEX for one output of a job."
    )
    reason: _Text = Field(default="", description="Why, for the file and the report.")
    remove: bool = Field(default=False, description="Take the rejections of these names back.")


class WorkflowsArguments(Arguments):
    workflow: str | None = Field(
        default=None, max_length=200, description="Only this workflow. Default: all."
    )


class ExplainArguments(Arguments):
    code: str | None = Field(
        default=None,
        max_length=200,
        description="An error code, such as NO_ANSWER. Default: all codes.",
    )


@dataclass(slots=True)
class ToolBox:
    """The tools of one server.

    ``cap`` is None if it may not spend. The settings don't change while it runs.
    """

    root: Root
    settings: Settings
    cap: SpendCap | None
    transport: httpx.AsyncBaseTransport | None = None
    runs: list[ActiveRun] = field(default_factory=list)

    async def validate(self, given: ValidateArguments, _send: SendProgress) -> Json:
        def check(output: CommandOutput) -> None:
            request = RunRequest(self.root.manifest(given.manifest), variables=given.variables)
            validate_all(output, [request])

        return await _in_thread("validate", check)

    async def plan(self, given: PlanArguments, _send: SendProgress) -> Json:
        output = _output("plan")
        with recording(output):
            request = await asyncio.to_thread(self._planned, given)
            summary = await plan_request(
                request, plan_kind_of, settings=self.settings, transport=self.transport
            )
            output.data = self._with_cap(plan_json(summary))
        return safe_envelope(output)

    async def run(self, given: RunArguments, send: SendProgress) -> Json:
        """Run a manifest.

        If the call is cancelled, the run stops buying, and the call ends when the run has.
        """
        output, active = _output("run"), ActiveRun()
        with recording(output):
            request = await asyncio.to_thread(self._planned, given)
            self.runs.append(active)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(active.report, send)
                    tasks.start_soon(active.stop_when_cancelled)
                    with anyio.CancelScope(shield=True):
                        await self._run(output, request, given, active)
                    active.ended()
                    tasks.cancel_scope.cancel()
            finally:
                self.runs.remove(active)
                output.data = self._with_cap(output.data)
        return safe_envelope(output)

    async def status(self, given: ListArguments, _send: SendProgress) -> Json:
        def show(output: CommandOutput) -> None:
            directory = self.root.inside("the run directory", given.run_dir)
            show_run_or_runs(output, directory, limit=MOST_RUNS)
            output.data = self._with_cap(output.data)

        return await _in_thread("status", show)

    async def report(self, given: ReportArguments, _send: SendProgress) -> Json:
        return await _in_thread("report", partial(self._report, given))

    async def reject(self, given: RejectArguments, _send: SendProgress) -> Json:
        """Reject outputs of a run, if its file of rejections is inside the root."""

        def change(output: CommandOutput) -> None:
            run_dir = self.root.inside("the run directory", given.run_dir)
            file = load("redo.rejecting:rejects_file_of")(run_dir)
            self.root.inside("the file of rejections", str(file))
            show = load("redo.terminal:reject_and_show")
            show(output, run_dir, given.names, reason=given.reason, remove=given.remove, file=None)

        return await _in_thread("reject", change)

    async def workflows(self, given: WorkflowsArguments, _send: SendProgress) -> Json:
        output = _output("workflows")
        with recording(output):
            async with connect(self.settings, transport=self.transport) as client:
                if given.workflow:
                    ids = [given.workflow]
                else:
                    ids = await workflow_ids(client)
                found: list[Json] = [
                    workflow_json(each, await metadata_of(client, each))
                    for each in ids[:MOST_WORKFLOWS]
                ]
            output.data = {"workflows": found, "not_shown": list[Json](ids[MOST_WORKFLOWS:])}
        return safe_envelope(output)

    async def explain(self, given: ExplainArguments, _send: SendProgress) -> Json:
        def show(output: CommandOutput) -> None:
            if given.code is None:
                list_codes(output)
            else:
                explain(output, given.code)

        return await _in_thread("explain", show)

    def _planned(self, given: PlanArguments) -> RunRequest:
        """Return the request of a plan or a run, within the root. Blocking."""
        manifest = self.root.manifest(given.manifest)
        out_dir = None
        if given.run_dir is not None:
            out_dir = self.root.inside("the run directory", given.run_dir)
        options = [module.Options for module in found("run_options")]
        request = RunRequest(
            manifest,
            features=tuple(each(**values_of(given, each)) for each in options),
            out_dir=out_dir,
            run_id=given.run_id,
            budget=None if given.budget is None else Decimal(given.budget),
            only=tuple(given.only),
            retry_failed=given.retry_failed,
            variables=given.variables,
            notify=False,
        )
        if isinstance(given, RunArguments):
            request = replace(request, concurrency=given.concurrency, deadline_s=given.deadline_s)
        self.root.check_run_directory(request)
        return request

    async def _run(
        self, output: CommandOutput, request: RunRequest, given: RunArguments, active: ActiveRun
    ) -> None:
        with recording(output):
            result = await run_request(
                request,
                lambda request: kind_of(request, StoppablePart(active), cap=self.cap),
                observer=active,
                settings=self.settings,
                transport=self.transport,
            )
            budget = () if given.budget is None else ("--budget", given.budget)
            command = run_command(
                request.manifest,
                *budget,
                run_id=result.report.run_id,
                out_dir=request.out_dir,
                notify_option=result.report.notify_option,
            )
            ended = FinishedRun(result, 0.0, None)
            await asyncio.to_thread(
                show_run_ending, output, ended, request.job_filter, command=command
            )

    def _report(self, given: ReportArguments, output: CommandOutput) -> None:
        directory = self.root.inside("the run directory", given.run_dir)
        status = read_status(directory)
        rows = (row for row in report_rows(status.run_dir) if given.status in {None, row.status})
        jobs: list[Json] = []
        fields = None if given.details else _ESSENTIALS
        size, is_more = 0, False
        for row in islice(rows, given.offset, None):
            is_more = len(jobs) == given.limit or size > MOST_BYTES
            if is_more:
                break
            jobs.append(_safe(row.model_dump(mode="json", exclude_defaults=True, include=fields)))
            size += len(json.dumps(jobs[-1]))
        next_offset = None
        if is_more:
            next_offset = given.offset + len(jobs)
        output.data = {
            **head_json(status.report, directory),
            "jobs": jobs,
            "next_offset": next_offset,
        }

    def _with_cap(self, data: Json) -> Json:
        if self.cap is None or not isinstance(data, dict | None):
            return data
        names = ("limit", "spent", "set_aside", "left")
        figures = {name: format_credits(getattr(self.cap.allowance, name)) for name in names}
        return {**(data or {}), "allow_spend": figures}


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool: its arguments, its description, and the function that is called.

    ``spends``: it may buy. ``writes``: it changes files.
    """

    arguments: type[Arguments]
    description: str
    call: Callable[[Any, SendProgress], Awaitable[Json]]
    spends: bool = False
    writes: bool = False


def tool_entries(tools: ToolBox) -> Mapping[str, ToolEntry]:
    """Return the tools that the server offers: ``run`` only if it may spend."""
    entries = {
        "validate": ToolEntry(
            ValidateArguments,
            "Check a manifest without the gateway. Spends nothing.",
            tools.validate,
        ),
        "plan": ToolEntry(
            PlanArguments,
            "Show which jobs a run would buy and what they may cost, later stages included"
            " (credits.at_most; null if a price has no declared maximum)."
            " Spends and writes nothing.",
            tools.plan,
        ),
        "status": ToolEntry(
            ListArguments,
            "Show the progress of a run, or how it ended; or list the runs of a directory, the"
            " newest first. Spends nothing.",
            tools.status,
        ),
        "report": ToolEntry(
            ReportArguments,
            "List the jobs of a run: status, credits, outputs with their paths in the run directory"
            " and what checks found, error."
            " next_offset is the offset of the next page, or null at the end. Spends nothing.",
            tools.report,
        ),
        "workflows": ToolEntry(
            WorkflowsArguments,
            "List the gateway's workflows with their parameters. Spends nothing.",
            tools.workflows,
        ),
        "explain": ToolEntry(
            ExplainArguments, "Explain an error code, and what to do about it.", tools.explain
        ),
    }
    if exists("redo"):
        entries["reject"] = ToolEntry(
            RejectArguments,
            "Reject outputs that the user does not want: the next run buys them again, which costs"
            " what the jobs cost. Only at the user's word; then plan, and ask before you run."
            " Spends nothing itself.",
            tools.reject,
            writes=True,
        )
    if tools.cap is not None:
        limit = format_credits(tools.cap.allowance.limit)
        entries["run"] = ToolEntry(
            RunArguments,
            "Buy and save the images of a manifest, within its budget."
            " Call plan first, and ask the user before spending."
            f" All runs of this server together may spend {limit} credits:"
            " a run whose budget allows more than is left of them is refused."
            " The same call resumes a run. Takes as long as the jobs;"
            " if it is cancelled, those in flight are still collected.",
            tools.run,
            spends=True,
            writes=True,
        )
    return entries


def _output(command: str) -> CommandOutput:
    """Return an output that prints nothing: its text for people is not wanted."""
    output = CommandOutput(command, quiet=True)
    output.out = output.err = Console(file=io.StringIO(), quiet=True)
    return output


async def _in_thread(command: str, body: Callable[[CommandOutput], None]) -> Json:
    output = _output(command)

    def work() -> None:
        with recording(output):
            body(output)

    await asyncio.to_thread(work)
    return safe_envelope(output)


_USER_DECIDES = frozenset(
    {"BUDGET_EXHAUSTED", "CONSENT_NEEDED", "PRICE_ABOVE_CEILING", "REFUND_MISSING"}
)
"""The codes whose hints propose to raise a limit or to release credits, which no agent does by
itself.
"""


def safe_envelope(output: CommandOutput) -> Json:
    """Return the result, without secrets, control characters and very long texts."""
    found = output.envelope()
    if isinstance(found["error"], Mapping):
        found["error"] = _for_agents(found["error"])
    data = found["data"]
    stops = data.get("stops") if isinstance(data, Mapping) else None
    if isinstance(data, Mapping) and isinstance(stops, Mapping):
        for_agents = {scope: _for_agents(stop) for scope, stop in stops.items()}
        found["data"] = {**data, "stops": for_agents}
    return _safe(found)


def _for_agents(error: Any) -> dict[str, Json]:
    if error["code"] not in _USER_DECIDES or not error["hint"]:
        return dict(error)
    return {**error, "hint": f"ask the user, who alone may decide this: {error['hint']}"}


def _safe(value: Any) -> Json:
    safe: Json = in_json(value, _safe_text)
    return safe


def _safe_text(text: str) -> str:
    safe = redacted(text)
    if len(safe) > LONGEST_TEXT:
        return f"{safe[: LONGEST_TEXT - 1]}…"
    return safe

"""The request of a run, a plan or a check: one value that the command line and the Python API both make."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from crucible_batch.api.run_paths import check_shard_location, main_location, relative_to_here, shard_directory
from crucible_batch.domain.credits import Credits, format_credits, parse_credits
from crucible_batch.domain.engine_options import DEFAULT_JOB_TIMEOUT_S, DEFAULT_KEY_TTL_S, DEFAULT_WAIT_FOR_GATEWAY_S
from crucible_batch.domain.saved_plan import DEFAULT_MAX_MANIFEST_BYTES
from crucible_batch.domain.sharding import SHARD_VARIABLE, ShardId, shard_from
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.manifest import path_fault
from crucible_batch.object_url import ObjectUrl
from crucible_batch.option_values import AUTO
from crucible_batch.saved_plan import (
    DEFAULT_MAX_JOBS,
    SavedPlan,
    check_plan_target,
    is_saved_plan,
    plan_command,
    read_saved_plan,
)
from crucible_batch.shell_command import shell_command

MAX_RUN_DIRECTORY_BYTES = 470
"""SQLite can't open a file whose absolute path has more than 512 bytes; the journal's file names add up to 35."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The jobs of a plan to run: patterns of names (empty: all jobs), and whether failed jobs are retried.

    ``buys_again``: also those that a run directory bought which is lost (see ``may_reopen``).
    ``names``: of all these, only the jobs with exactly these names; None: no such limit.
    """

    only: tuple[str, ...] = ()
    retry_failed: bool = False
    buys_again: bool = False
    names: frozenset[str] | None = None

    def takes(self, name: str) -> bool:
        if self.names is not None and name not in self.names:
            return False
        return not self.only or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The arguments of a run, a plan or a check.

    None, empty, false and the default limits mean that the caller didn't choose. ``plan`` is the saved plan to follow:
    the fields from ``manifest`` to ``scheduled_at`` are then taken from it. ``yes`` starts without a budget and
    without asking. ``overlap_is_failure`` is false if a busy run directory is expected, and not notified.
    ``same_account`` is the user's statement that the API key is of the directory's account if that can't be checked.
    ``shards`` divides a plan, and ``shard`` is the part of a divided plan to run. ``uploads_only`` makes the images of
    the jobs ready at the gateway, and submits none.
    If ``max_output_bytes`` or ``max_pixels`` is None, the output store's limit applies. The other
    fields are described in ``RunKeywords``.
    """

    manifest: Path
    out_dir: Path | None = None
    run_id: str | None = None
    budget: Credits | None = None
    job_filter: JobFilter = JobFilter()
    variables: Mapping[str, str] = field(default_factory=dict)
    allow_outside: bool = False
    max_jobs: int = DEFAULT_MAX_JOBS
    max_manifest_bytes: int = DEFAULT_MAX_MANIFEST_BYTES
    scheduled_at: datetime | None = None
    plan: SavedPlan | None = None
    shards: int | None = None
    shard: ShardId | None = None
    uploads_only: bool = False
    yes: bool = False
    recover: bool = False
    resubmit_unknown: bool = False
    forget_refunds: bool = False
    same_account: bool = False
    concurrency: int | Literal["auto"] | None = None
    polls_per_s: float | None = None
    job_timeout_s: float = DEFAULT_JOB_TIMEOUT_S
    deadline_s: float | None = None
    wait_for_gateway_s: float = DEFAULT_WAIT_FOR_GATEWAY_S
    key_ttl_s: float = DEFAULT_KEY_TTL_S
    max_output_bytes: int | None = None
    max_pixels: int | None = None
    html: bool = True
    sidecars: bool = True
    metrics_textfile: Path | None = None
    metrics_listen: str | None = None
    notify: bool = True
    allow_command: bool = False
    overlap_is_failure: bool = True

    @property
    def choice(self) -> JobFilter:
        """The jobs that a run with these options takes."""
        return replace(self.job_filter, buys_again=self.resubmit_unknown)

    @property
    def plan_digest(self) -> str | None:
        return None if self.plan is None else self.plan.digest

    @property
    def remake(self) -> str | None:
        """The command that makes the saved plan again; None if there is no plan."""
        if self.plan is None or self.out_dir is None:
            return None
        return plan_command(self.plan.head, self.plan.path, manifest=self.manifest, run_dir=main_location(self.plan))


class ManifestKeywords(TypedDict, total=False):
    """Further keyword arguments of ``validate`` and ``plan``; ``run`` takes them too."""

    allow_outside: bool
    """Allow files outside the manifest's folder."""
    max_jobs: int
    """Refuse a manifest with more jobs; 100,000 by default."""
    max_manifest_bytes: int
    """Refuse a larger manifest; 16 MiB by default."""
    scheduled_at: datetime | None
    """The scheduled time of the run, with a time zone, for run ids and templates. None, the default: that of the
    environment, otherwise the latest time of the manifest's schedule, otherwise now."""


class RunKeywords(ManifestKeywords, total=False):
    """Further keyword arguments of ``run``."""

    yes: bool
    """Start without a budget and without asking."""
    concurrency: int | Literal["auto"] | None
    """The maximum number of jobs in flight. "auto": adapted to what the gateway accepts and keeps busy. None, the
    default: that of the manifest, otherwise "auto"."""
    polls_per_s: float | None
    """The maximum number of polls per second, for all jobs together. None, the default: as many as needed."""
    job_timeout_s: float
    """The time to wait for one job, in seconds; 30 minutes by default."""
    deadline_s: float | None
    """Seconds from the call; None, the default: that of the manifest. Before the first job ``DeadlineError`` is raised;
    after that the run is stopped in good order."""
    wait_for_gateway_s: float
    """The longest outage of the gateway that the run waits for, in seconds; 10 minutes by default. Nothing new is
    bought meanwhile. 0: an outage is not waited for."""
    key_ttl_s: float
    """The time for which the gateway honours an idempotency key, in seconds; a day by default. A submit without an
    answer is sent again within that time, and after that only with ``resubmit_unknown``."""
    resubmit_unknown: bool
    """Resend submits without an answer even if the gateway may no longer know their idempotency keys."""
    forget_refunds: bool
    """Release the credits that are held for failed jobs whose refund the gateway's ledger no longer shows. The journal
    records who did so."""
    recover: bool
    """Fetch again what an earlier run bought, after its directory was lost. Stops at the first sign that the gateway
    no longer knows the idempotency keys."""
    same_account: bool
    """Accept a renewed API key as one of the directory's account if no purchase proves it."""
    max_output_bytes: int
    """Don't save a larger output (``OUTPUT_UNAVAILABLE``); 256 MiB by default."""
    max_pixels: int
    """Don't save an output with more pixels (``OUTPUT_UNAVAILABLE``); 100 million by default."""
    html: bool
    """Write ``report.html`` beside ``report.json``; true by default. If it can't be written, that is only logged."""
    sidecars: bool
    """Write a sidecar file with its provenance beside each output; true by default. The manifest may turn it off."""
    metrics_textfile: Path | None
    """The directory in which the metrics of the run are written at its end, for the textfile collector of Prometheus'
    node exporter. None, the default: they are not written."""
    metrics_listen: str | None
    """The address at which the metrics can be read during the run, such as "127.0.0.1:9464". A port alone is that of
    the loopback interface. None, the default: none."""
    notify: bool
    """Send the notifications of the manifest; true by default. If one can't be sent, that is only logged and
    reported."""
    allow_command: bool
    """Run the commands of the manifest's ``notify``; false by default, and then a manifest with one is refused."""


def make_request(
    manifest: str | Path,
    *,
    out_dir: str | Path | None,
    run_id: str | None,
    budget: Decimal | int | str | None,
    retry_failed: bool,
    only: Sequence[str],
    variables: Mapping[str, str] | None,
    **options: Unpack[RunKeywords],
) -> RunRequest:
    """Make a request from the Python API's arguments. Raises ``UserError`` if the budget can't be parsed."""
    return RunRequest(
        Path(manifest),
        out_dir=None if out_dir is None else Path(out_dir),
        run_id=run_id,
        budget=read_budget(budget),
        job_filter=JobFilter(tuple(only), retry_failed),
        variables=variables or {},
        **options,
    )


def check_keywords(function: str, given: Iterable[str], allowed: type[object]) -> None:
    """Raise ``TypeError`` for a name that is not in the ``TypedDict``, as Python does for an explicit signature."""
    if unknown := [name for name in given if name not in allowed.__annotations__]:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}")


def read_budget(budget: Credits | int | str | None) -> Credits | None:
    """Return the budget as an exact amount. Raises ``UserError`` if it can't be parsed."""
    try:
        return None if budget is None else parse_credits(budget)
    except ValueError as error:
        raise UserError(f"budget: {error}", hint="give a Decimal, a whole number or text such as '12.5'") from None


def parse_shard(shard: str | None) -> ShardId | None:
    """Return a shard such as "3/8". Raises ``UserError`` if it can't be parsed."""
    try:
        return None if shard is None else ShardId.parse(shard)
    except ValueError as error:
        raise UserError(f"shard: {error}", hint="correct the value; nothing was started") from None


def check_request(request: RunRequest) -> None:
    """Raise ``UserError`` for options that are out of range, naming each of them, or for an invalid manifest path."""
    if faults := list(_faults(request)):
        raise UserError("; ".join(faults), hint="correct the value; nothing was started")
    check_path("the path of the manifest", request.manifest)


def _faults(request: RunRequest) -> Iterator[str]:
    try:
        read_budget(request.budget)  # an amount that the journal refuses when it is read again must not get into it
    except UserError as error:
        yield error.message
    # Each condition is negated so that NaN, for which all comparisons are false, is refused too.
    if request.concurrency not in (None, AUTO) and not _is_at_least_one(request.concurrency):
        yield f'concurrency must be at least 1, or "auto", or None, not {request.concurrency!r}'
    if request.polls_per_s is not None and not request.polls_per_s > 0:
        yield f"polls_per_s must be more than 0, or None, not {request.polls_per_s!r}"
    if not request.job_timeout_s > 0:
        yield f"job_timeout_s must be more than 0, not {request.job_timeout_s!r}"
    if request.deadline_s is not None and not request.deadline_s > 0:
        yield f"deadline_s must be more than 0, or None, not {request.deadline_s!r}"
    if not 0 <= request.wait_for_gateway_s < float("inf"):
        yield f"wait_for_gateway_s must be 0 or more, not {request.wait_for_gateway_s!r}"
    if not request.key_ttl_s >= 0:
        yield f"key_ttl_s must be 0 or more, not {request.key_ttl_s!r}"
    if request.max_output_bytes is not None and not request.max_output_bytes >= 1:
        yield f"max_output_bytes must be at least 1, not {request.max_output_bytes!r}"
    if request.max_pixels is not None:
        from crucible_batch.outputs import MOST_PIXELS  # noqa: PLC0415 - imports Pillow, not needed to check manifests

        if not 1 <= request.max_pixels <= MOST_PIXELS:
            most = f"{MOST_PIXELS:,}, the most that Pillow reads"
            yield f"max_pixels must be from 1 to {most}, not {request.max_pixels!r}"


def _is_at_least_one(value: object) -> bool:
    return isinstance(value, int | float) and value >= 1


def check_path(what: str, path: Path | None) -> None:
    """Raise ``UserError`` if the journal, the report or the file system can't handle the path. None is accepted."""
    fault = None if path is None else path_fault(str(path))
    if fault is not None:
        raise UserError(f"{what} {str(path)[:300]!r} {fault[0]}", hint=f"{fault[1]}; nothing was spent")


def check_run_directory(directory: Path) -> None:
    """Refuse a path that can't be a run directory.

    Raises ``UserError``, and ``RunDirectoryError`` if it is too long for SQLite to open a journal there.
    """
    check_path("the run directory", directory)
    if len(os.fsencode(os.path.realpath(directory))) > MAX_RUN_DIRECTORY_BYTES:
        raise RunDirectoryError(
            f"the run directory's absolute path is longer than {MAX_RUN_DIRECTORY_BYTES} bytes, and SQLite can't open"
            " a journal there",
            hint="choose a shorter one with --out-dir; nothing was spent",
        )


def check_saving(request: RunRequest, save_to: Path | None, *, force: bool) -> None:
    """Raise ``UserError`` if the plan can't be saved: ``save_to`` is unusable or another file, or the input a plan."""
    check_path("the path of the plan", save_to)
    if save_to is None:
        return
    if request.plan is not None:
        raise UserError(
            f"{request.plan.path} is already a plan; a plan is made from a manifest",
            hint=f"make a new plan: {request.remake}",
        )
    if os.path.realpath(save_to) == os.path.realpath(request.manifest):
        raise UserError(f"{save_to} is the manifest itself", hint="name another file for the plan: -o plan.json")
    check_plan_target(save_to, force=force)


def _directory_of(request: RunRequest, plan: SavedPlan) -> Path:
    if request.shard is None:
        return Path(main_location(plan))
    check_shard_location(plan, request.out_dir)
    return request.out_dir or shard_directory(plan, request.shard)


def follow_plan(request: RunRequest, environ: Mapping[str, str] | None = None) -> RunRequest:
    """Return the request with the options of the saved plan if its manifest is one; otherwise unchanged.

    A plan is distinguished from a manifest by its content. ``environ`` is the environment of a run, which may name the
    shard of a divided plan; None if the plan is only read. Raises ``SavedPlanError``, and ``UserError`` for an option
    that contradicts the plan.
    """
    if request.plan is not None:
        return request
    if not is_saved_plan(request.manifest):
        if environ is not None:
            if request.shard is not None and not Path(request.manifest).exists():
                raise UserError(
                    f"{request.manifest} can't be read: no such file or directory",
                    hint="give the file of the divided plan, which crucible-batch plan MANIFEST --shards N -o made",
                )
            choose_shard(request.shard, None, environ)
        return request
    plan = read_saved_plan(request.manifest)
    if environ is not None:
        request = replace(request, shard=choose_shard(request.shard, plan, environ))
    head, options = plan.head, plan.head.options
    base = Path(os.path.realpath(plan.path)).parent
    followed = replace(
        request,
        manifest=relative_to_here(base / head.manifest.path),
        out_dir=_directory_of(request, plan),
        run_id=options.run_id,
        budget=options.budget,
        job_filter=JobFilter(options.only, options.retry_failed),
        variables=options.variables,
        allow_outside=options.allow_outside,
        max_jobs=options.max_jobs,
        max_manifest_bytes=options.max_manifest_bytes,
        scheduled_at=options.scheduled_at or request.scheduled_at,
        plan=plan,
    )
    contradictions = list(_contradictions(request, followed, head.terms.budget))
    if contradictions:
        raise UserError(
            f"{plan.path} was made with: {'; '.join(contradictions)}",
            hint=f"omit the options that contradict the plan, or make a new plan: {followed.remake}",
        )
    return followed


def choose_shard(given: ShardId | None, plan: SavedPlan | None, environ: Mapping[str, str]) -> ShardId | None:
    """Return the shard to run: the given one, else that of the environment. ``plan`` is None for a manifest.

    Raises ``UserError`` if there is none in a divided plan, or one that the plan doesn't have.
    """
    count = 0 if plan is None else len(plan.head.shards)
    try:
        shard = given or shard_from(environ, count)
    except ValueError as error:
        raise UserError(str(error), hint="nothing was started; correct the variable, or give --shard") from None
    name = "a manifest" if plan is None else str(plan.path)
    if shard is not None and not count:
        raise UserError(
            f"shard {shard} was chosen, but {name} is not divided into shards",
            hint="divide it: crucible-batch plan MANIFEST --budget N --shards N -o plan.json",
        )
    if plan is not None and count and shard is None:
        raise UserError(
            f"{plan.path} is divided into {count} shards, and none was chosen",
            hint=f"choose one: {shell_command('run', plan.path, '--shard', f'1/{count}')}; or set {SHARD_VARIABLE}, or"
            " the array variable of Slurm, Kubernetes or AWS Batch",
        )
    if plan is not None and shard is not None and shard.count != count:
        raise UserError(
            f"shard {shard} is not one of {plan.path}, which has {count} shards",
            hint=f"choose one from 1/{count} to {count}/{count}",
        )
    return shard


def _contradictions(given: RunRequest, plan: RunRequest, budget: Credits | None) -> Iterator[str]:
    """Yield the plan's value of each option that was given a different value.

    ``budget`` is the plan's effective budget, which may come from the manifest.
    """
    if given.out_dir is not None and os.path.realpath(given.out_dir) != os.path.realpath(plan.out_dir or ""):
        yield f"--out-dir {ObjectUrl.parse(plan.out_dir or '') or plan.out_dir}"
    if given.run_id is not None and given.run_id != plan.run_id:
        yield f"--run-id {plan.run_id}"
    if given.budget is not None and given.budget != budget:
        yield "no budget" if budget is None else f"--budget {format_credits(budget)}"
    if given.job_filter.retry_failed and not plan.job_filter.retry_failed:
        yield "no --retry-failed"
    only = plan.job_filter.only
    if given.job_filter.only and given.job_filter.only != only:
        yield f"--only {' --only '.join(only)}" if only else "no --only"
    if given.variables and dict(given.variables) != dict(plan.variables):
        yield " ".join(f"--var {name}={value}" for name, value in plan.variables.items()) or "no --var"
    if given.allow_outside and not plan.allow_outside:
        yield "no --allow-outside"
    if given.max_jobs not in {DEFAULT_MAX_JOBS, plan.max_jobs}:
        yield f"--max-jobs {plan.max_jobs}"
    if given.max_manifest_bytes not in {DEFAULT_MAX_MANIFEST_BYTES, plan.max_manifest_bytes}:
        yield f"--max-manifest-size {plan.max_manifest_bytes}"
    if given.scheduled_at is not None and plan.scheduled_at is not None and given.scheduled_at != plan.scheduled_at:
        yield f"--scheduled-at {plan.scheduled_at.isoformat().replace('+00:00', 'Z')}"

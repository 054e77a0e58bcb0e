"""Drafts: manifests that are read, expanded and planned into a plan file, without a gateway."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from crucible_batch.core.credits import Credits
from crucible_batch.core.filled_fields import FilledFields
from crucible_batch.core.gateway_types import Workflow
from crucible_batch.core.plan import BudgetSource, InputImage, NotifyOption, PlannedJob, RunTerms
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.core.run_options import ManifestOptions, RunOptions, declared
from crucible_batch.errors import Problem, UserError
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import (
    VALUE_PATH,
    EntryExpander,
    Manifest,
    ProblemCollector,
    expand,
    load_manifest,
    render_run_id,
    written,
)
from crucible_batch.object_url import ObjectUrl
from crucible_batch.planner import OutputKey, Planner, ReadImage
from crucible_batch.runs.keywords import taking, values_of
from crucible_batch.runs.paths import state_directory_of
from crucible_batch.runs.request import JobFilter, RunRequest, check_request, check_run_directory
from crucible_batch.runs.scheduled_time_source import find_scheduled_time
from crucible_batch.shell_command import DEFAULT_DIRECTORY

ManifestInput: TypeAlias = str | Path | Mapping[str, object] | Manifest
"""A manifest: the path of its file, its content, or what ``validate`` has returned.

In a value, paths are relative to the working directory.
"""


@dataclass(frozen=True, slots=True)
class ValidateCall(ManifestOptions):
    """The arguments of ``validate``."""

    manifest: ManifestInput
    _: KW_ONLY
    variables: Mapping[str, str] | None = None


class ExpectedJobs(Protocol):
    """The jobs that a run may add to its plan, as the plan is made."""

    @property
    def owners(self) -> Mapping[str, OutputKey]:
        """Return the outputs that have jobs in the former plan, as ``Planner`` needs them."""

    @property
    def expander(self) -> EntryExpander | None:
        """Return what makes the jobs of derived entries, those that are only expected included;
        None if there are no such entries."""

    def begin(self, planner: Planner) -> None:
        """Start the plan. Called before ``take``."""

    def reader(self, read: ReadImage) -> ReadImage:
        """Return a reader of images that knows the outputs; ``read`` reads all other images."""

    def take(
        self,
        planned: PlannedJob,
        makers: Mapping[int, str] | None = None,
        rejected: Mapping[int, str] = MappingProxyType({}),
    ) -> PlannedJob | None:
        """Note a job, and return it as it belongs into the plan; None if it does not.

        ``makers`` has the identity of the job whose output counts, by number, if not all outputs
        are of this job. ``rejected`` has what rejects an output that is not bought again yet.
        """

    def expected_names(self) -> Iterator[str]:
        """Yield the names of the jobs that the run may add."""


@taking(ValidateCall)
def validate(given: ValidateCall) -> tuple[Manifest, int]:
    """Check a manifest without a gateway, and return it with its number of jobs.

    Parameters are not checked against their workflows. Raises ``ManifestError`` with all problems.
    """
    path, variables = path_of(given.manifest), given.variables or {}
    request = RunRequest(path, variables=variables, **values_of(given, ManifestOptions))
    return validate_request(request, read_value(given.manifest, request))


def validate_request(request: RunRequest, manifest: Manifest | None = None) -> tuple[Manifest, int]:
    """Check the manifest of a request, as ``validate`` does.

    ``manifest`` is that of the request if it was read.
    """
    manifest = manifest or read_source(request)
    with PlanFile.temporary() as draft:
        run_id = run_terms(manifest, request).run_id
        later: ExpectedJobs | None = None
        if manifest.derived is not None:
            later = manifest.derived.later_jobs(manifest, run_id, Path(), None, None)
        fill_plan(draft, manifest, run_id, {}, later=later)
        return manifest, len(draft)


def read_source(request: RunRequest, watch: Callable[[], None] = lambda: None) -> Manifest:
    """Read the manifest of a request, and find its scheduled time. ``watch`` is called repeatedly,
    and may raise.

    Raises ``ManifestError`` with all problems of the manifest's form, and ``UserError`` for an
    invalid time in the environment.
    """
    return _with_time(load_manifest(request.manifest, **_reading(request), watch=watch), request)


def read_value(manifest: ManifestInput, request: RunRequest) -> Manifest | None:
    """Return the manifest of a request if it was given as a value; None for a path.

    Raises ``ManifestError`` as ``read_source`` does, and ``UserError`` if the value can't be
    written as YAML, or if a ``Manifest`` is given with options for reading it.
    """
    if isinstance(manifest, str | Path):
        return None
    check_request(request)
    if isinstance(manifest, Manifest):
        if request.variables or values_of(request, ManifestOptions) != values_of(
            ManifestOptions(), ManifestOptions
        ):
            raise UserError(
                "a Manifest was given with options for reading it",
                hint="give them to validate, which returns it",
            )
        return manifest
    try:
        content = written(manifest)
    except ValueError as error:
        raise UserError(
            f"the manifest has a value that YAML does not know: {clean(str(error), 300)}",
            hint="use texts, numbers, lists and mappings; nothing was started",
        ) from None
    return _with_time(load_manifest(VALUE_PATH, content=content, **_reading(request)), request)


def path_of(manifest: ManifestInput) -> Path:
    """Return the path of a manifest, that of a value as messages show it."""
    if isinstance(manifest, Manifest):
        return manifest.path
    if isinstance(manifest, str | Path):
        return Path(manifest)
    return VALUE_PATH


def _reading(request: RunRequest) -> dict[str, Any]:
    return {
        "overrides": request.variables,
        "allow_outside": request.allow_outside,
        "max_jobs": request.max_jobs,
        "max_bytes": request.max_manifest_bytes,
    }


def _with_time(manifest: Manifest, request: RunRequest) -> Manifest:
    scheduled_at = find_scheduled_time(
        manifest, request.scheduled_at, os.environ, datetime.now(UTC)
    )
    return replace(manifest, scheduled_at=scheduled_at)


def with_pace_of(manifest: Manifest, request: RunRequest) -> RunRequest:
    """Return the request with the manifest's values where the caller chose none."""
    missing = {
        name: getattr(manifest.header, option.manifest_key)
        for name, (option, _) in declared(RunOptions).items()
        if option.manifest_key and getattr(request, name) is None
    }
    return replace(request, **missing)


def run_terms(manifest: Manifest, request: RunRequest) -> RunTerms:
    """Return the terms of a run, with its run id.

    Raises ``UserError`` as ``render_run_id`` does.
    """
    budget, budget_source = _budget(manifest, request)
    return RunTerms(
        manifest_name=manifest.name,
        manifest_path=str(manifest.path),
        manifest_sha256=manifest.sha256,
        run_id=render_run_id(manifest, request.run_id),
        budget=budget,
        budget_source=budget_source,
        ceiling=manifest.header.budget.max_credits_per_job,
        upload_ceiling=manifest.header.budget.max_credits_per_upload,
        attempts=manifest.header.retry.attempts,
        never=HOPELESS_CODES | {code.upper() for code in manifest.header.retry.never},
        plan_digest=None if request.plan is None else request.plan.digest,
        sidecars=manifest.header.provenance.sidecar and request.sidecars,
        embed=manifest.header.provenance.embed,
        properties=tuple(manifest.header.provenance.properties()),
        notify_option=_notify_option(manifest, request),
    )


def _budget(manifest: Manifest, request: RunRequest) -> tuple[Credits | None, BudgetSource | None]:
    """Return the budget of a run, and where it is from; None for both if there is none."""
    if request.budget is not None:
        return request.budget, "command"
    if manifest.header.budget.credits is not None:
        return manifest.header.budget.credits, "manifest"
    return None, None


def _notify_option(manifest: Manifest, request: RunRequest) -> NotifyOption | None:
    has_command = request.allow_command and any(manifest.programs())
    if not request.notify and manifest.header.sends_messages:
        return "--no-notify --allow-command" if has_command else "--no-notify"
    if has_command:
        return "--allow-command"
    return None


def run_directory(out_dir: Path | None, terms: RunTerms) -> Path:
    """Return the directory of a run's results: ``out_dir``, by default ``outputs/NAME/RUN_ID``.

    For the URL of an object store it is the local directory of the run's journal. Raises as
    ``state_directory_of`` and ``check_run_directory`` do.
    """
    directory = out_dir or DEFAULT_DIRECTORY / terms.manifest_name / terms.run_id
    url = ObjectUrl.parse(directory)
    if url is not None:
        directory = state_directory_of(url)
    check_run_directory(directory)
    return directory


def check_filter(plan: PlanFile, chosen: JobFilter, later: ExpectedJobs | None) -> None:
    """Raise ``UserError`` if a pattern matches no job's name: a typo would otherwise be a
    successful run of no job.

    ``later`` has the names of jobs that the run may add to the plan.
    """
    unmatched, names = set(chosen.only), list[str]()
    if not unmatched:
        return
    expected = () if later is None else later.expected_names()
    for name in chain((planned.name for planned in plan.jobs()), expected):
        unmatched -= {pattern for pattern in unmatched if fnmatch.fnmatchcase(name, pattern)}
        if not unmatched:
            return
        names.append(name)
    for pattern in sorted(unmatched):
        hint = f"there is {names[0]!r}; patterns such as 'hero-*' are accepted"
        near = difflib.get_close_matches(pattern, names, n=1)
        if near:
            hint = f"did you mean {near[0]!r}?"
        raise UserError(f"no job is named {pattern!r}", hint=hint)


def fill_plan(
    plan: PlanFile,
    manifest: Manifest,
    run_id: str,
    workflows: Mapping[str, Workflow],
    *,
    note_names: Callable[[Set[str]], None] = lambda _names: None,
    note_empty: Callable[[Sequence[str]], None] = lambda _notes: None,
    found: Iterable[Problem] = (),
    watch: Callable[[], None] = lambda: None,
    later: ExpectedJobs | None = None,
    filled: FilledFields = MappingProxyType({}),
) -> None:
    """Expand and plan every job into ``plan``. Blocking; ``watch`` is called at each job, and may
    raise to abort.

    ``later`` are the jobs that its run may add. ``filled`` is that of ``Planner``.

    Raises ``ManifestError`` with all problems of the jobs and those ``found`` before. A problem
    that many jobs share, such as a typo in the defaults, is reported once.
    """
    problems = ProblemCollector()
    problems.extend(found)
    read = _image_reader()
    owners: Mapping[str, OutputKey] = {}
    expander: EntryExpander | None = None
    if later is not None:
        read, owners, expander = later.reader(read), later.owners, later.expander
    planner = Planner(
        manifest_name=manifest.name,
        run_id=run_id,
        duplicates=manifest.header.duplicates,
        workflows=workflows,
        read_image=read,
        owners=owners,
        filled=filled,
        filler=manifest.header.filler(manifest.site, manifest.jobs),
    )
    if later is not None:
        later.begin(planner)
    specs = expand(manifest, note_names, note_empty, expander=expander)

    def planned() -> Iterator[PlannedJob]:
        for item in planner.plan(specs):
            watch()
            if isinstance(item, Problem):
                problems.add(item)
                continue
            taken: PlannedJob | None = item
            if later is not None:
                taken = later.take(item)
            if taken is not None:
                yield taken

    plan.fill(planned())
    problems.raise_if_any()


def _image_reader() -> ReadImage:
    @lru_cache(maxsize=10_000)
    def read(path: Path) -> InputImage | str:
        # Pillow is loaded for manifests with images only.
        from crucible_batch.input_images import InputError, read_input  # noqa: PLC0415

        try:
            return read_input(path)
        except InputError as error:
            return str(error)

    return read

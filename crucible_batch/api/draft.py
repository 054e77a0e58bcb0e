"""A draft: a manifest read, expanded and written to a plan file, checked against the workflows that are known."""

from __future__ import annotations

import asyncio
import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.domain.ports import Gateway
from crucible_batch.domain.retry_rule import HOPELESS_CODES
from crucible_batch.errors import GatewayError, KeyRefusedError, Problem, UserError
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import MAX_BYTES, Manifest, Reading, Remnant, expand_all, read_manifest
from crucible_batch.planner import Planner, ReadImage

T = TypeVar("T")

DEFAULT_RUN_ID = "default"
_RUN_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+:")


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """How a manifest is read: template variables, how far its files may lie, how many jobs it may ask for, its size."""

    overrides: Mapping[str, str] = field(default_factory=dict)
    allow_outside: bool = False
    max_jobs: int = 100_000
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Terms:
    """What the caller says over the manifest. ``plan_digest`` names the saved plan that is followed."""

    run_id: str = DEFAULT_RUN_ID
    budget: Credits | None = None
    plan_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the plan's jobs a run is about: patterns of names (none means all), and whether failed ones go again."""

    only: tuple[str, ...] = ()
    retry_failed: bool = False

    def takes(self, name: str) -> bool:
        return not self.only or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)


def check_choice(plan: PlanFile, choice: Choice) -> None:
    """Refuse a pattern that no job's name matches: a slip there would end as a success that did nothing.

    Raises ``UserError``.
    """
    unmatched = set(choice.only)
    names: list[str] = []
    for planned in plan.jobs() if unmatched else ():
        unmatched -= {pattern for pattern in unmatched if fnmatch.fnmatchcase(planned.name, pattern)}
        if not unmatched:
            return
        names.append(planned.name)
    for pattern in sorted(unmatched):
        nearest = difflib.get_close_matches(pattern, names, n=1) or names[:1]
        raise UserError(
            f"no job is named {pattern!r}", hint=f"there is {nearest[0]!r}; patterns like 'hero-*' serve too"
        )


def unwatched() -> None:
    """Nothing ends the planning early."""


def read_source(path: Path, options: ManifestOptions, watch: Callable[[], None] = unwatched) -> Reading:
    """Read a manifest, whatever is wrong with its form: ``plan_jobs`` adds what else is wrong and raises it all.

    ``watch`` is called over and over, and may raise to end it. Raises ``ManifestError`` where there is nothing to go on
    with.
    """
    return read_manifest(
        path,
        overrides=options.overrides,
        allow_outside=options.allow_outside,
        max_jobs=options.max_jobs,
        max_bytes=options.max_bytes,
        watch=watch,
    )


def run_terms(manifest: Manifest, terms: Terms) -> RunTerms:
    """Decide what a run is held to. Raises ``UserError`` for a run id that can't be part of a path."""
    run_id = terms.run_id
    if not run_id or set(run_id) - _RUN_ID_CHARACTERS or run_id.startswith((".", "-")) or len(run_id) > 100:
        raise UserError(
            f"{run_id!r} can't be a run id",
            hint="use up to 100 letters, digits and ._-+: that don't begin with a dot or a dash",
        )
    budget = terms.budget if terms.budget is not None else manifest.budget.credits
    return RunTerms(
        manifest_name=manifest.name,
        manifest_path=str(manifest.path),
        manifest_sha256=manifest.sha256,
        run_id=run_id,
        budget=budget,
        ceiling=manifest.budget.max_credits_per_job,
        upload_ceiling=manifest.budget.max_credits_per_upload,
        attempts=manifest.retry.attempts,
        never=HOPELESS_CODES | {code.upper() for code in manifest.retry.never},
        plan_digest=terms.plan_digest,
        sidecars=manifest.provenance.sidecar,
        embed=manifest.provenance.embed,
    )


def unnoted(_text: str, _path: Path) -> None:
    """Nobody wants to know which files a manifest reads."""


def fill_plan(
    plan: PlanFile,
    source: Reading,
    run_id: str,
    workflows: Mapping[str, Workflow],
    note: Callable[[str, Path], None] = unnoted,
    *,
    watch: Callable[[], None] = unwatched,
) -> None:
    """Expand and plan every job into ``plan``. Blocking; ``watch`` is called at each job, and may raise to end it.

    Raises ``ManifestError`` with all problems, those that are known already included. What many jobs share (a typo in
    the defaults) is said once. Where there are more already than are shown, none are looked for.
    """
    manifest, problems = source.manifest, source.problems
    planner = Planner(
        manifest_name=manifest.name,
        run_id=run_id,
        duplicates=manifest.duplicates,
        workflows=workflows,
        read_image=_image_reader(),
    )

    def planned() -> Iterator[PlannedJob]:
        for item in planner.plan(_in_batches(expand_all(manifest, note))):
            watch()
            if isinstance(item, PlannedJob):
                yield item
            else:
                problems.add(item)

    if not problems.full:
        plan.fill(planned())
    problems.raise_if_any()


def _in_batches(items: Iterable[T]) -> Iterator[T]:
    """Pass items on, made 64 at a time: planning takes an eighth less when making and planning don't take turns at each
    job, since what a processor has at hand is then the code of one of them."""
    rest = iter(items)
    while batch := list(islice(rest, 64)):
        yield from batch


def _image_reader() -> ReadImage:
    @lru_cache(maxsize=10_000)
    def read(path: Path) -> InputImage | str:
        from crucible_batch.input_images import InputError, read_input  # noqa: PLC0415 - Pillow, for manifests with images

        try:
            return read_input(path)
        except InputError as error:
            return str(error)

    return read


# So long is waited for what the gateway may add to a manifest that will be refused anyway.
_PATIENCE_S = 10.0


def workflows_of(manifest: Manifest) -> Mapping[str, Problem]:
    """Return the workflows that the manifest uses, each with the problem to report where there is none of that name."""
    used: dict[str, Problem] = {}
    for entry in manifest.entries():
        own = entry.job.workflow is not None
        if "workflow" in (entry.unknown if own or entry.unknown else manifest.unknown):
            continue
        workflow_id = entry.job.workflow or manifest.workflow
        if workflow_id is not None and "{{" in workflow_id:
            return _rendered_workflows(manifest)
        if workflow_id is not None and workflow_id not in used:
            where = f"jobs[{entry.index}].workflow" if own else "workflow"
            used[workflow_id] = Problem(manifest.place(where), where, f"there is no workflow {workflow_id!r}")
    return used


def _rendered_workflows(manifest: Manifest) -> Mapping[str, Problem]:
    """A workflow that is a template is known only job by job."""
    used: dict[str, Problem] = {}
    for item in expand_all(manifest):
        if isinstance(item, Problem):
            continue
        wanted = item.job if isinstance(item, Remnant) else item
        if wanted.workflow_id and wanted.workflow_id not in used and not wanted.is_on_unknown_workflow:
            used[wanted.workflow_id] = wanted.problem("workflow", f"there is no workflow {wanted.workflow_id!r}")
    return used


async def fetch_workflows(gateway: Gateway, manifest: Manifest) -> tuple[dict[str, Workflow], list[Problem]]:
    """Read the metadata of all workflows that the manifest uses, at the same time.

    Returns them with a problem for each that the gateway doesn't have. Raises ``GatewayError``.
    """
    used = workflows_of(manifest)
    found: dict[str, Workflow] = {}
    missing: list[str] = []

    async def fetch(workflow_id: str) -> None:
        try:
            found[workflow_id] = await gateway.workflow(workflow_id)
        except GatewayError as error:
            if error.status != 404 or not error.is_refusal:  # an edge's page says nothing of it
                raise
            missing.append(workflow_id)

    try:
        async with asyncio.TaskGroup() as group:
            for workflow_id in used:
                group.create_task(fetch(workflow_id))
    except* GatewayError as errors:
        raise _first(errors) from None
    return found, await _no_such_workflows(gateway, {name: used[name] for name in sorted(missing)})


def _first(group: BaseExceptionGroup[GatewayError]) -> GatewayError:
    errors = [error for error in group.exceptions if isinstance(error, GatewayError)]
    return next((error for error in errors if isinstance(error, KeyRefusedError)), errors[0])


async def _no_such_workflows(gateway: Gateway, missing: Mapping[str, Problem]) -> list[Problem]:
    if not missing:
        return []
    try:
        known = sorted(await gateway.workflows())
    except GatewayError:
        known = []
    hint = f"active are: {', '.join(known)}" if known else "crucible-batch workflows lists those that there are"
    return [
        replace(problem, nearest=next(iter(difflib.get_close_matches(name, known, n=1)), None), hint=hint)
        for name, problem in missing.items()
    ]


async def plan_jobs(
    plan: PlanFile,
    source: Reading,
    run_id: str,
    gateway: Gateway | None,
    *,
    workflows: dict[str, Workflow],
    note: Callable[[str, Path], None] = unnoted,
    watch: Callable[[], None] = unwatched,
) -> None:
    """Plan every job into ``plan``. ``workflows`` fills up with those that they are on; none without a gateway.

    ``note`` is told of each prompt file and table that is read; ``watch`` is called at each job, and may raise.
    Raises ``ManifestError`` with all that is wrong with the manifest, be it its form, its workflows or its jobs, and
    also where the gateway can't be asked; ``GatewayError`` where that is all there is to say.
    """
    failure: GatewayError | None = None
    if gateway is not None and not source.problems.full:
        try:
            async with asyncio.timeout(_PATIENCE_S if source.problems else None):
                found, missing = await fetch_workflows(gateway, source.manifest)
            workflows.update(found)
            source.problems.extend(missing)
        except TimeoutError:
            pass
        except GatewayError as error:
            failure = error
    fill_plan(plan, source, run_id, workflows, note, watch=watch)
    if failure is not None:
        raise failure

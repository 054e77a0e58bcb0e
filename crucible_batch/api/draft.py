"""Drafts: manifests that are read, expanded and planned into a plan file, without a gateway."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar, Unpack

from crucible_batch.api.request import JobFilter, ManifestKeywords, RunRequest, check_keywords
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.domain.retry_rule import HOPELESS_CODES
from crucible_batch.errors import Problem, UserError
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import Manifest, ProblemCollector, expand, load_manifest
from crucible_batch.planner import Planner, ReadImage

T = TypeVar("T")

_DEFAULT_RUN_ID = "default"
_RUN_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+:")


def ignore() -> None:
    """Do nothing: the default of ``watch``."""


def ignore_file(_text: str, _path: Path) -> None:
    """Do nothing: the default of ``note``."""


def validate(
    manifest: str | Path, *, variables: Mapping[str, str] | None = None, **options: Unpack[ManifestKeywords]
) -> tuple[Manifest, int]:
    """Check a manifest without a gateway, and return it with its number of jobs.

    Parameters are not checked against their workflows. Raises ``ManifestError`` with all problems.
    """
    check_keywords("validate", options, ManifestKeywords)
    return validate_request(RunRequest(Path(manifest), variables=variables or {}, **options))


def validate_request(request: RunRequest) -> tuple[Manifest, int]:
    """Check the manifest of a request, as ``validate`` does."""
    manifest = read_source(request)
    with PlanFile.temporary() as draft:
        fill_plan(draft, manifest, _DEFAULT_RUN_ID, {})
        return manifest, len(draft)


def read_source(request: RunRequest, watch: Callable[[], None] = ignore) -> Manifest:
    """Read the manifest of a request. ``watch`` is called repeatedly, and may raise to abort.

    Raises ``ManifestError`` with all problems of the manifest's form.
    """
    return load_manifest(
        request.manifest,
        overrides=request.variables,
        allow_outside=request.allow_outside,
        max_jobs=request.max_jobs,
        max_bytes=request.max_manifest_bytes,
        watch=watch,
    )


def run_terms(manifest: Manifest, request: RunRequest) -> RunTerms:
    """Return the terms of a run. Raises ``UserError`` if the run id can't be part of a path."""
    run_id = request.run_id or _DEFAULT_RUN_ID
    if set(run_id) - _RUN_ID_CHARACTERS or run_id.startswith((".", "-")) or len(run_id) > 100:
        raise UserError(
            f"{run_id!r} can't be a run id",
            hint="use up to 100 letters, digits and ._-+: that don't begin with a dot or a dash",
        )
    return RunTerms(
        manifest_name=manifest.name,
        manifest_path=str(manifest.path),
        manifest_sha256=manifest.sha256,
        run_id=run_id,
        budget=request.budget if request.budget is not None else manifest.budget.credits,
        ceiling=manifest.budget.max_credits_per_job,
        upload_ceiling=manifest.budget.max_credits_per_upload,
        attempts=manifest.retry.attempts,
        never=HOPELESS_CODES | {code.upper() for code in manifest.retry.never},
        plan_digest=request.plan_digest,
        sidecars=manifest.provenance.sidecar and request.sidecars,
        embed=manifest.provenance.embed,
    )


def check_filter(plan: PlanFile, chosen: JobFilter) -> None:
    """Raise ``UserError`` if a pattern matches no job's name: a typo would otherwise be a successful run of no job."""
    unmatched = set(chosen.only)
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


def fill_plan(
    plan: PlanFile,
    manifest: Manifest,
    run_id: str,
    workflows: Mapping[str, Workflow],
    note: Callable[[str, Path], None] = ignore_file,
    *,
    found: Iterable[Problem] = (),
    watch: Callable[[], None] = ignore,
) -> None:
    """Expand and plan every job into ``plan``. Blocking; ``watch`` is called at each job, and may raise to abort.

    Raises ``ManifestError`` with all problems of the jobs and those ``found`` before. A problem that many jobs share,
    such as a typo in the defaults, is reported once.
    """
    problems = ProblemCollector()
    problems.extend(found)
    planner = Planner(
        manifest_name=manifest.name,
        run_id=run_id,
        duplicates=manifest.duplicates,
        workflows=workflows,
        read_image=_image_reader(),
    )

    def planned() -> Iterator[PlannedJob]:
        for item in planner.plan(_in_batches(expand(manifest, note))):
            watch()
            if isinstance(item, PlannedJob):
                yield item
            else:
                problems.add(item)

    plan.fill(planned())
    problems.raise_if_any()


def _in_batches(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, produced 64 at a time.

    Planning takes an eighth less time if producing and planning don't alternate at each job, since the code of one of
    them then stays in the processor's cache.
    """
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

"""A draft: a manifest read, expanded and written to a plan file, checked against the workflows that are known."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.domain.retry_rule import HOPELESS_CODES
from crucible_batch.errors import UserError
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import MAX_BYTES, Manifest, Reading, expand_all, read_manifest
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
class RequestedTerms:
    """What the caller says over the manifest. ``plan_digest`` names the saved plan that is followed."""

    run_id: str = DEFAULT_RUN_ID
    budget: Credits | None = None
    plan_digest: str | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which of the plan's jobs a run is about: patterns of names (none means all), and whether failed ones go again."""

    only: tuple[str, ...] = ()
    retry_failed: bool = False

    def takes(self, name: str) -> bool:
        return not self.only or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)


def check_filter(plan: PlanFile, choice: JobFilter) -> None:
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


def run_terms(manifest: Manifest, terms: RequestedTerms) -> RunTerms:
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

"""What a caller asks for: of a manifest, or of a saved plan, which says the rest itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from crucible_batch.api.draft import DEFAULT_RUN_ID, JobFilter, ManifestOptions, RequestedTerms
from crucible_batch.domain.credits import Credits, format_credits, parse_credits
from crucible_batch.domain.saved_plan import DEFAULT_MAX_MANIFEST_BYTES
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.manifest import path_fault
from crucible_batch.outputs import MOST_PIXELS
from crucible_batch.saved_plan import (
    DEFAULT_MAX_JOBS,
    SavedPlan,
    check_plan_target,
    is_saved_plan,
    plan_command,
    read_saved_plan,
)

MAX_RUN_DIRECTORY_BYTES = 470
"""SQLite opens no file whose absolute path has more than 512 bytes; the journal's own names take up to 35 of them."""


def check_path(what: str, path: Path | None) -> None:
    """Refuse a path that the journal, the report or the file system can't take. Raises ``UserError``."""
    fault = None if path is None else path_fault(str(path))
    if fault is not None:
        raise UserError(f"{what} {str(path)[:300]!r} {fault[0]}", hint=f"{fault[1]}; nothing was spent")


def check_run_directory(directory: Path) -> None:
    """Refuse a run directory that can't be used, or in which no journal could be kept. Raises ``UserError``."""
    check_path("the run directory", directory)
    if len(os.fsencode(os.path.realpath(directory))) > MAX_RUN_DIRECTORY_BYTES:
        raise RunDirectoryError(
            f"the run directory's absolute path is longer than {MAX_RUN_DIRECTORY_BYTES} bytes, and SQLite can't open"
            " a journal there",
            hint="name a shorter one with --out-dir; nothing was spent",
        )


def read_budget(budget: Credits | int | str | None) -> Credits | None:
    """Return the budget as an exact amount. Raises ``UserError``."""
    try:
        return None if budget is None else parse_credits(budget)
    except ValueError as error:
        raise UserError(f"budget: {error}", hint="give a Decimal, a whole number or text such as '12.5'") from None


def check_limits(*, max_output_bytes: int, max_pixels: int) -> None:
    """Refuse limits that no output could keep, or that can't be held. Raises ``UserError``."""
    faults = []
    if not max_output_bytes >= 1:
        faults.append(f"max_output_bytes must be at least 1, not {max_output_bytes!r}")
    if not 1 <= max_pixels <= MOST_PIXELS:
        faults.append(f"max_pixels must be from 1 to {MOST_PIXELS:,}, the most that Pillow reads, not {max_pixels!r}")
    if faults:
        raise UserError("; ".join(faults), hint="nothing was begun; correct the call")


def check_pace(
    *,
    concurrency: int | None = None,
    polls_per_s: float | None = None,
    job_timeout_s: float = math.inf,
    deadline_s: float | None = None,
    key_ttl_s: float = math.inf,
) -> None:
    """Refuse what would let a run, or a plan, do nothing. Raises ``UserError``, which names each argument that does."""
    faults = []
    # Written so that NaN, which compares with nothing, is refused too.
    if concurrency is not None and not concurrency >= 1:
        faults.append(f"concurrency must be at least 1, or None, not {concurrency!r}")
    if polls_per_s is not None and not polls_per_s > 0:
        faults.append(f"polls_per_s must be more than 0, or None, not {polls_per_s!r}")
    if not job_timeout_s > 0:
        faults.append(f"job_timeout_s must be more than 0, not {job_timeout_s!r}")
    if deadline_s is not None and not deadline_s > 0:
        faults.append(f"deadline_s must be more than 0, or None, not {deadline_s!r}")
    if not key_ttl_s >= 0:
        faults.append(f"key_ttl_s must be 0 or more, not {key_ttl_s!r}")
    if faults:
        raise UserError("; ".join(faults), hint="nothing was begun; correct the call")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The arguments of a plan or a run. None, empty, false and the usual limits mean that nothing was said.

    ``plan`` is the saved plan to follow; then the others are as it says.
    """

    manifest: Path
    out_dir: Path | None = None
    run_id: str | None = None
    budget: Credits | None = None
    retry_failed: bool = False
    only: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    allow_outside: bool = False
    max_jobs: int = DEFAULT_MAX_JOBS
    max_manifest_bytes: int = DEFAULT_MAX_MANIFEST_BYTES
    plan: SavedPlan | None = None

    @property
    def reading(self) -> ManifestOptions:
        return ManifestOptions(self.variables, self.allow_outside, self.max_jobs, self.max_manifest_bytes)

    @property
    def terms(self) -> RequestedTerms:
        digest = None if self.plan is None else self.plan.digest
        return RequestedTerms(self.run_id or DEFAULT_RUN_ID, self.budget, digest)

    @property
    def choice(self) -> JobFilter:
        return JobFilter(self.only, self.retry_failed)

    @property
    def remake(self) -> str | None:
        """The command that makes the plan anew; None where there is no plan."""
        if self.plan is None or self.out_dir is None:
            return None
        return plan_command(self.plan.head, self.plan.path, manifest=self.manifest, run_dir=self.out_dir)


def make_request(
    manifest: str | Path,
    *,
    out_dir: str | Path | None,
    run_id: str | None,
    budget: Decimal | int | str | None,
    retry_failed: bool,
    only: Sequence[str],
    variables: Mapping[str, str] | None,
    allow_outside: bool,
    max_jobs: int,
    max_manifest_bytes: int,
) -> RunRequest:
    """Sort out what is asked for; a plan is told from a manifest by its content.

    Raises ``SavedPlanError``, and ``UserError`` for a budget that is none, for a path that can't be used and for what
    contradicts the plan.
    """
    said = RunRequest(
        manifest=Path(manifest),
        out_dir=None if out_dir is None else Path(out_dir),
        run_id=run_id,
        budget=read_budget(budget),
        retry_failed=retry_failed,
        only=tuple(only),
        variables=variables or {},
        allow_outside=allow_outside,
        max_jobs=max_jobs,
        max_manifest_bytes=max_manifest_bytes,
    )
    check_path("the path of the manifest", said.manifest)
    return _of_plan(said) if is_saved_plan(said.manifest) else said


def check_saving(wants: RunRequest, save_to: Path | None, *, force: bool) -> None:
    """Refuse to save a plan of a plan, at a path that can't be used, or over something else. Raises ``UserError``."""
    check_path("the path of the plan", save_to)
    if wants.plan is not None and save_to is not None:
        raise UserError(
            f"{wants.plan.path} is a plan already, and a plan is made of a manifest",
            hint=f"make it anew: {wants.remake}",
        )
    if save_to is not None:
        if os.path.realpath(save_to) == os.path.realpath(wants.manifest):
            raise UserError(f"{save_to} is the manifest itself", hint="name another file for the plan: -o plan.json")
        check_plan_target(save_to, force=force)


def _of_plan(said: RunRequest) -> RunRequest:
    plan = read_saved_plan(said.manifest)
    head, options = plan.head, plan.head.options
    base = Path(os.path.realpath(plan.path)).parent
    followed = replace(
        said,
        manifest=_shown(base / head.manifest.path),
        out_dir=_shown(base / options.run_dir),
        run_id=options.run_id,
        budget=options.budget,
        retry_failed=options.retry_failed,
        only=options.only,
        variables=options.variables,
        allow_outside=options.allow_outside,
        max_jobs=options.max_jobs,
        max_manifest_bytes=options.max_manifest_bytes,
        plan=plan,
    )
    contradictions = list(_contradictions(said, followed, head.terms.budget))
    if contradictions:
        raise UserError(
            f"{plan.path} says otherwise: {'; '.join(contradictions)}",
            hint=f"leave out what the plan says, or make another: {followed.remake}",
        )
    return followed


def _shown(path: Path) -> Path:
    """Return a path as one would type it here: relative where it lies below the working directory."""
    relative = os.path.relpath(path)
    return Path(os.path.normpath(path) if relative.startswith(os.pardir) else relative)


def _contradictions(said: RunRequest, plan: RunRequest, budget: Credits | None) -> Iterator[str]:
    """Say which options are not the plan's. What was not said contradicts nothing. ``budget`` is the plan's own, be it
    the manifest's."""
    if said.out_dir is not None and os.path.realpath(said.out_dir) != os.path.realpath(plan.out_dir or ""):
        yield f"--out-dir {plan.out_dir}"
    if said.run_id is not None and said.run_id != plan.run_id:
        yield f"--run-id {plan.run_id}"
    if said.budget is not None and said.budget != budget:
        yield "no budget" if budget is None else f"--budget {format_credits(budget)}"
    if said.retry_failed and not plan.retry_failed:
        yield "no --retry-failed"
    if said.only and said.only != plan.only:
        yield f"--only {' --only '.join(plan.only)}" if plan.only else "no --only"
    if said.variables and dict(said.variables) != dict(plan.variables):
        yield " ".join(f"--var {name}={value}" for name, value in plan.variables.items()) or "no --var"
    if said.allow_outside and not plan.allow_outside:
        yield "no --allow-outside"
    if said.max_jobs not in {DEFAULT_MAX_JOBS, plan.max_jobs}:
        yield f"--max-jobs {plan.max_jobs}"
    if said.max_manifest_bytes not in {DEFAULT_MAX_MANIFEST_BYTES, plan.max_manifest_bytes}:
        yield f"--max-manifest-size {plan.max_manifest_bytes}"

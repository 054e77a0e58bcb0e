"""The request of a run, a plan or a check: one value that the command line and the Python API both
make.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from crucible_batch.core.credits import Credits
from crucible_batch.core.run_options import (
    FeatureOptions,
    ManifestOptions,
    PlanningOptions,
    RunOptions,
    declared,
    faults,
    option_flag,
    read_budget,
)
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.features import found
from crucible_batch.manifest import path_fault
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.paths import main_location, relative_to_here
from crucible_batch.saved_plan import (
    SavedPlan,
    check_plan_target,
    is_saved_plan,
    plan_command,
    read_saved_plan,
)

F = TypeVar("F", bound=FeatureOptions)
MAX_RUN_DIRECTORY_BYTES = 470
"""SQLite can't open a file whose absolute path has more than 512 bytes; the journal's file names
add up to 35."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The jobs of a plan to run: patterns of names (empty: all jobs), and whether failed jobs are
    retried.

    ``buys_again``: also those that a run directory bought which is lost (see ``may_reopen``).
    ``names``: of all these, only the jobs with exactly these names; None: no such limit.
    ``left_out``: not the jobs with these names, nor what is made from them.
    """

    only: tuple[str, ...] = ()
    retry_failed: bool = False
    buys_again: bool = False
    names: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()

    def takes(self, name: str, source: str | None = None, /) -> bool:
        """Whether a job is chosen. ``source`` is the name of the job from whose output it is made;
        it is needed only for jobs that are added while a run is active.
        """
        if name in self.left_out or source in self.left_out:
            return False
        if self.names is not None and name not in self.names:
            return False
        return not self.only or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.only)


@dataclass(frozen=True, slots=True)
class RunRequest(PlanningOptions, RunOptions):
    """The arguments of a run, a plan or a check.

    None, empty, false and the default limits mean that the caller didn't choose. ``plan`` is the
    saved plan to follow: the options of ``PlanningOptions`` and ``ManifestOptions`` are then taken
    from it. ``names``: of the chosen jobs, only those with exactly these names. ``left_out``: those
    that the options of features leave out, once the jobs are planned. ``features`` are these
    options, each of another type. ``uploads_only`` makes the images of the
    jobs ready at the gateway, and submits none. ``overlap_is_failure`` is false if a busy run
    directory is expected, and not notified.
    """

    manifest: Path
    _: KW_ONLY
    out_dir: Path | None = None
    budget: Credits | None = None
    only: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()
    plan: SavedPlan | None = None
    features: tuple[FeatureOptions, ...] = ()
    uploads_only: bool = False
    overlap_is_failure: bool = True

    def of(self, options: type[F]) -> F:
        """Return the options of a feature; their defaults if they were not given."""
        return next((each for each in self.features if isinstance(each, options)), options())

    def having(self, options: FeatureOptions) -> Self:
        """Return the request with these options of a feature in place of its former ones."""
        others = (each for each in self.features if type(each) is not type(options))
        return replace(self, features=(*others, options))

    @property
    def of_features(self) -> dict[str, int]:
        """The values of the options of features that a saved plan fixes, by their names."""
        return {name: value for each in self.features for name, value in each.fixed.items()}

    @property
    def is_of_divided_plan(self) -> bool:
        """Whether it follows a saved plan that is divided into shards."""
        return self.plan is not None and bool(self.plan.head.shards)

    @property
    def job_filter(self) -> JobFilter:
        """The jobs that were chosen."""
        return JobFilter(self.only, self.retry_failed, names=self.names, left_out=self.left_out)

    @property
    def choice(self) -> JobFilter:
        """The jobs that a run with these options takes."""
        return replace(self.job_filter, buys_again=self.resubmit_unknown)

    @property
    def remake(self) -> str | None:
        """The command that makes the saved plan again; None if there is no plan."""
        if self.plan is None or self.out_dir is None:
            return None
        return plan_command(
            self.plan.head, self.plan.path, manifest=self.manifest, run_dir=main_location(self.plan)
        )


def planned(given: PlanningOptions) -> dict[str, Any]:
    """Return the options for planning as a request has them.

    Raises as ``Option.read`` does, and ``UserError`` for a URL that can't be used.
    """
    ObjectUrl.parse(given.out_dir or "")  # a ``Path`` of it doesn't show a host any more
    found = declared(PlanningOptions).items()
    return {name: option.read(getattr(given, name)) for name, (option, _) in found}


def check_request(request: RunRequest) -> None:
    """Raise ``UserError`` for options that are out of range, naming each of them, or for an invalid
    manifest path."""
    faults = list(_faults(request))
    if faults:
        raise UserError("; ".join(faults), hint="correct the value; nothing was started")
    check_path("the path of the manifest", request.manifest)


def _faults(request: RunRequest) -> Iterator[str]:
    try:
        read_budget(
            request.budget
        )  # an amount that the journal refuses when it is read again must not get into it
    except UserError as error:
        yield error.message
    yield from faults(request)
    for options in request.features:
        yield from options.faults()


def check_path(what: str, path: Path | None) -> None:
    """Raise ``UserError`` if the journal, the report or the file system can't handle the path.

    None is accepted.
    """
    if path is None:
        return
    fault = path_fault(str(path))
    if fault is not None:
        raise UserError(
            f"{what} {str(path)[:300]!r} {fault[0]}", hint=f"{fault[1]}; nothing was spent"
        )


def check_run_directory(directory: Path) -> None:
    """Refuse a path that can't be a run directory.

    Raises ``UserError``, and ``RunDirectoryError`` if it is too long for SQLite to open a journal
    there.
    """
    check_path("the run directory", directory)
    if len(os.fsencode(os.path.realpath(directory))) > MAX_RUN_DIRECTORY_BYTES:
        raise RunDirectoryError(
            f"the run directory's absolute path is longer than {MAX_RUN_DIRECTORY_BYTES} bytes, "
            "and SQLite can't open a journal there",
            hint="choose a shorter one with --out-dir; nothing was spent",
        )


def check_saving(request: RunRequest, save_to: Path | None, *, force: bool) -> None:
    """Raise ``UserError`` if the plan can't be saved: ``save_to`` is unusable or another file, or
    the input a plan.
    """
    check_path("the path of the plan", save_to)
    if save_to is None:
        return
    if request.plan is not None:
        raise UserError(
            f"{request.plan.path} is already a plan; a plan is made from a manifest",
            hint=f"make a new plan: {request.remake}",
        )
    if os.path.realpath(save_to) == os.path.realpath(request.manifest):
        raise UserError(
            f"{save_to} is the manifest itself", hint="name another file for the plan: -o plan.json"
        )
    check_plan_target(save_to, force=force)


def follow_plan(request: RunRequest, environ: Mapping[str, str] | None = None) -> RunRequest:
    """Return the request with the options of the saved plan if its manifest is one; otherwise
    unchanged.

    A plan is distinguished from a manifest by its content. ``environ`` is the environment of a run,
    which may choose a part of the plan; None if the plan is only read. Raises ``SavedPlanError``,
    and ``UserError`` for an option that contradicts the plan.
    """
    if request.plan is not None:
        return request
    plan, followed = None, request
    if is_saved_plan(request.manifest):
        plan = read_saved_plan(request.manifest)
        followed = _followed(request, plan)
    choices = list(found("followed_plan"))
    if followed.is_of_divided_plan and not choices:
        raise _cannot_run_shards(followed)
    for choice in choices:
        followed = choice.chosen(request, followed, environ)
    if plan is None:
        return followed
    contradictions = list(_contradictions(request, followed, plan.head.terms.budget))
    if contradictions:
        raise UserError(
            f"{plan.path} was made with: {'; '.join(contradictions)}",
            hint=(
                f"omit the options that contradict the plan, or make a new plan: {followed.remake}"
            ),
        )
    return followed


def _followed(request: RunRequest, plan: SavedPlan) -> RunRequest:
    head, options = plan.head, plan.head.options
    base = Path(os.path.realpath(plan.path)).parent
    others = tuple(each for each in request.features if not each.fixed)
    followed = replace(request, features=others)
    for fixed in _options_of(plan):
        followed = followed.having(fixed)
    return replace(
        followed,
        **{
            **values_of(options, RunRequest),
            "manifest": relative_to_here(base / head.manifest.path),
            "out_dir": Path(main_location(plan)),
            # A time that the plan doesn't depend on may be given.
            "scheduled_at": options.scheduled_at or request.scheduled_at,
            "plan": plan,
        },
    )


def _options_of(plan: SavedPlan) -> Iterator[FeatureOptions]:
    """Yield the options of features that a plan fixes. Raises ``UserError`` if there is no such
    feature."""
    values = dict(plan.head.options.of_features)
    for module in found("plan_options"):
        names = {each.name for each in fields(module.Options)} & values.keys()
        if names:
            options: FeatureOptions = module.Options(**{name: values.pop(name) for name in names})
            for fault in options.faults():
                raise UserError(f"{plan.path} is invalid: {fault}", hint="make a new plan")
            yield options
    for name in values:
        raise UserError(
            f"{plan.path} was made with {option_flag(name)}, which this installation doesn't have",
            hint="use an installation with all features; nothing was spent",
        )


def _cannot_run_shards(request: RunRequest) -> UserError:
    """Return why a divided plan is refused where the feature is missing: its budget is set aside
    for its shards.
    """
    assert request.plan is not None
    return UserError(
        f"{request.plan.path} is divided into shards, and this installation can't run shards",
        hint="use an installation with the feature shards; nothing was spent",
    )


def _contradictions(given: RunRequest, plan: RunRequest, budget: Credits | None) -> Iterator[str]:
    """Yield the plan's value of each option that was given a different value.

    ``budget`` is the plan's effective budget, which may come from the manifest.
    """
    out_dir = plan.out_dir or ""
    if given.out_dir is not None and os.path.realpath(given.out_dir) == os.path.realpath(out_dir):
        given = replace(given, out_dir=None)
    effective = {"out_dir": ObjectUrl.parse(out_dir) or plan.out_dir, "budget": budget}
    for name, (option, default) in declared(PlanningOptions, ManifestOptions).items():
        value = effective.get(name, getattr(plan, name))
        if getattr(given, name) not in (option.read(default), value):
            none = "no budget" if name == "budget" else f"no {option.flag}"
            yield " ".join(option.words(value)) or none
    for name, number in given.of_features.items():
        fixed = plan.of_features.get(name)
        if fixed is None:
            yield f"no {option_flag(name)}"
        elif fixed != number:
            yield f"{option_flag(name)} {fixed}"

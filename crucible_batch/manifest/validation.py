"""The check of a manifest's form: the shape of each field, and the rules between fields."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from crucible_batch.errors import Problem
from crucible_batch.manifest import names
from crucible_batch.manifest.extension import header_model, job_entry_model
from crucible_batch.manifest.manifest import Manifest, ManifestEntry
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.problems import MAX_SHOWN
from crucible_batch.manifest.shape_problems import shape_problems
from crucible_batch.manifest.source_map import SourceNode, kind, nearest
from crucible_batch.manifest.templates import is_template
from crucible_batch.manifest.yaml_reader import MAX_WARNINGS, Document
from crucible_batch.scheduled_time import read_timezone

Model = TypeVar("Model", bound=BaseModel)

BATCH_SIZE = "size.batch_size"
_FIXED = (
    "row repeat self loop true false none True False None "
    "and or not if elif else for in is recursive set"
)
RESERVED = frozenset(_FIXED.split())
"""Names that have a fixed meaning in templates, given by us or by Jinja2's grammar."""


def is_batch_of_one(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 1


def header_problems(header: Header, site: SourceNode) -> Iterator[Problem]:
    """Yield the problems of the header, which is all fields but ``jobs``, that its model can't
    detect."""
    for message, near in names.faults(header.output.path):
        yield site.problem(("output", "path"), message, nearest=near)
    yield from _variable_names(header.vars, site, ("vars",))
    yield from axis_problems(header.matrix, header.vars, site, "matrix")
    if header.params and header.workflow is None:
        yield site.problem(
            ("params",),
            "these parameters are for the default workflow, which is not set",
            key=True,
            hint="set `workflow: ...`, or move them to `workflows.<id>.params`",
        )
    yield from _batch_size(header.params, site, ("params",))
    yield from header.problems(site)
    for workflow_id, workflow in header.workflows.items():
        yield from _batch_size(workflow.params, site, ("workflows", workflow_id, "params"))


def job_problems(job: JobEntry, header: Header, site: SourceNode) -> Iterator[Problem]:
    """Yield the problems of one entry of ``jobs``, by itself and together with the header."""
    if job.workflow is None and header.workflow is None:
        yield site.problem(
            ("workflow",),
            "the job has no workflow, and no default workflow is set",
            hint="add `workflow: ...`",
        )
    yield from _batch_size(job.params, site, ("params",))
    if job.matrix is not None:
        yield from axis_problems(job.matrix, header.vars, site, "matrix")
    yield from axis_problems(job.zip, header.vars, site, "zip")
    axes = axes_of(job, header.matrix)
    yield from job.problems(header, site)
    for name in job.zip:
        if name in axes:
            yield site.problem(
                ("zip", name), f"the axis {name!r} is in both `matrix` and `zip`", key=True
            )
    lengths = {name: len(values) for name, values in job.zip.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        yield site.problem(("zip",), f"the lists must have the same length, got {shown}", key=True)


def axes_of(job: JobEntry, shared: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
    """Return the matrix of an entry.

    ``shared`` is that of the manifest, which derived jobs don't have.
    """
    if job.matrix is not None:
        return job.matrix
    if job.is_derived:
        return {}
    return shared


def job_count(job: JobEntry, header: Header) -> int:
    """Return the number of jobs that an entry makes, per row if it has ``foreach``; 0 if they are
    derived."""
    if job.is_derived:
        return 0
    if job.times == 1 and not (header.matrix or job.matrix or job.zip):
        return 1
    axes = axes_of(job, header.matrix)
    rows = len(next(iter(job.zip.values()), (None,)))
    return math.prod(len(values) for values in axes.values()) * rows * job.times


def override_problems(
    overrides: Mapping[str, str], header: Header, site: SourceNode
) -> Iterator[Problem]:
    """Yield the problems of ``--var`` options: names that aren't in the manifest's ``vars``, values
    not in UTF-8.
    """
    for name, value in overrides.items():
        if name not in header.vars:
            hint = "it has no `vars`"
            if header.vars:
                hint = f"its variables are {', '.join(header.vars)}"
            message = f"--var {name}: the manifest has no such variable"
            yield site.problem(
                ("vars",), message, key=True, nearest=nearest(name, header.vars), hint=hint
            )
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
            yield site.problem(("vars",), f"--var {name}: the value is not UTF-8", key=True)


def header_warnings(header: Header, site: SourceNode, used: Collection[str]) -> Iterator[Problem]:
    """Yield warnings about values that the author may have meant differently.

    ``used`` are the jobs' workflows.
    """
    for name, value in header.vars.items():
        yield from _untemplated(value, site, ("vars", name))
    for name, values in header.matrix.items():
        for index, value in enumerate(values):
            yield from _untemplated(value, site, ("matrix", name, index))
    if any(is_template(workflow_id) for workflow_id in used):
        return
    for workflow_id in header.workflows:
        if workflow_id not in used:
            near = nearest(workflow_id, used)
            message = f"no job uses the workflow {workflow_id!r}"
            yield site.problem(("workflows", workflow_id), message, key=True, nearest=near)


def job_warnings(job: JobEntry, site: SourceNode) -> Iterator[Problem]:
    for where, axes in (("matrix", job.matrix or {}), ("zip", job.zip)):
        for name, values in axes.items():
            for index, value in enumerate(values):
                yield from _untemplated(value, site, (where, name, index))


def _untemplated(value: object, site: SourceNode, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if isinstance(value, str) and is_template(value):
        yield site.problem(
            path, "a template in a variable or an axis is not rendered; the text is used literally"
        )


def axis_problems(
    axes: Mapping[str, list[Any]], variables: Collection[str], site: SourceNode, where: str
) -> Iterator[Problem]:
    """Yield the problems of the axes at the key ``where``, by themselves and beside ``vars``."""
    yield from _variable_names(axes, site, (where,))
    for name, values in axes.items():
        if name in variables:
            yield site.problem(
                (where, name), f"{name!r} is both an axis and one of `vars`", key=True
            )
        for index, value in enumerate(values):
            if not isinstance(value, str | int | float):
                message = (
                    f"a value of an axis must be text, a number, true or false, got {kind(value)}"
                )
                yield site.problem((where, name, index), message)


def _variable_names(
    names: Collection[str], site: SourceNode, path: tuple[str, ...]
) -> Iterator[Problem]:
    for name in names:
        if name in RESERVED:
            message = f"the name {name!r} is reserved in templates; choose another name"
            yield site.problem((*path, name), message, key=True)


def _batch_size(
    params: Mapping[str, Any], site: SourceNode, path: tuple[str, ...]
) -> Iterator[Problem]:
    value = params.get(BATCH_SIZE, 1)
    is_left_to_rendering = isinstance(value, str) and is_template(value)
    if not is_batch_of_one(value) and not is_left_to_rendering:
        yield batch_size_problem(site, (*path, BATCH_SIZE))


def batch_size_problem(site: SourceNode, path: tuple[str | int, ...]) -> Problem:
    return site.problem(
        path, f"{BATCH_SIZE} must be 1", hint="use `repeat` for more images of one job"
    )


def too_many(site: SourceNode, max_jobs: int) -> Problem:
    """Return the problem of the entry with which a manifest exceeds ``max_jobs``."""
    return site.problem(
        (),
        f"with this entry the manifest has more than {max_jobs:,} jobs",
        hint="--max-jobs raises the limit",
    )


def _line_of(problem: Problem) -> tuple[Path, int]:
    return problem.place.file, problem.place.line


class FormCheck:
    """The check of one document's form: its YAML, the shape of each field, and the rules between
    fields.

    For a line with a YAML problem, other problems are not reported, since most would be
    consequences of that one.
    """

    def __init__(
        self,
        document: Document,
        overrides: Mapping[str, str],
        *,
        allow_outside: bool,
        max_jobs: int,
    ) -> None:
        self._site = document.root
        self._overrides = overrides
        self._allow_outside = allow_outside
        self._max_jobs = max_jobs
        self._problems = document.problems
        self._faulty_lines = set(map(_line_of, document.problems.error().problems))
        self._warnings = list(document.warnings)
        self._jobs: list[ManifestEntry] = []

    def manifest(self, sha256: str) -> Manifest:
        """Return the checked manifest. Raises ``ManifestError`` with all problems of form."""
        header = self._validated(header_model(), self._site, other_keys=("jobs",))
        if header is not None:
            self._report(header_problems(header, self._site))
            self._report(override_problems(self._overrides, header, self._site))
        jobs = self._site.value.get("jobs")
        if isinstance(jobs, list) and jobs:
            self._check_jobs(header)
        elif "jobs" in self._site.value:
            message = f"must be a list of jobs, got {kind(jobs)}"
            if jobs is None or jobs == []:
                message = "is empty; add a job"
            self._report([self._site.problem(("jobs",), message)])
        elif all(problem.nearest != "jobs" for problem in self._problems.error().problems):
            self._report([self._site.problem(("jobs",), "`jobs` is missing")])
        if header is None or self._problems:
            raise self._problems.error()
        return self._made(header, sha256)

    def _validated(
        self, model: type[Model], site: SourceNode, *, other_keys: Sequence[str] = ()
    ) -> Model | None:
        """Return the model of the value at ``site`` without ``other_keys``.

        If the value doesn't have the right shape, reports the problems and returns None.
        """
        value = site.value
        if other_keys:
            value = {key: item for key, item in value.items() if key not in other_keys}
        try:
            return model.model_validate(value)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if self._problems.full:
                self._problems.omitted += len(details)
                return None
            self._report(
                islice(shape_problems(model, details, site, other_keys=other_keys), MAX_SHOWN)
            )
            self._problems.omitted += max(len(details) - MAX_SHOWN, 0)
            return None

    def _report(self, problems: Iterable[Problem]) -> None:
        self._problems.extend(
            problem for problem in problems if _line_of(problem) not in self._faulty_lines
        )

    def _check_jobs(self, header: Header | None) -> None:
        """Check each entry, and the rules between it and the header if the header has the right
        shape."""
        used = set[str]()
        if header is not None and header.workflow:
            used.add(header.workflow)
        count = 0
        for index, site in enumerate(self._site.items("jobs")):
            job = self._validated(job_entry_model(), site)
            if header is None or job is None:
                continue
            self._jobs.append(ManifestEntry(index, job, site))
            self._report(job_problems(job, header, site))
            self._warn(job_warnings(job, site))
            used.add(job.workflow or header.workflow or "")
            made = job_count(job, header)
            if count <= self._max_jobs < count + made:
                self._report([too_many(site, self._max_jobs)])
            count += made
        if header is not None:
            self._warn(header_warnings(header, self._site, used))

    def _warn(self, warnings: Iterable[Problem]) -> None:
        self._warnings.extend(islice(warnings, MAX_WARNINGS - len(self._warnings)))

    def _made(self, header: Header, sha256: str) -> Manifest:
        return Manifest(
            path=self._site.file,
            # Links are not followed here.
            directory=Path(os.path.abspath(self._site.file.parent)),  # noqa: PTH100
            sha256=sha256,
            header=header,
            vars={**header.vars, **self._overrides},
            zone=read_timezone(header.zone_name or "UTC"),
            warnings=tuple(sorted(self._warnings, key=lambda warning: warning.place)),
            allow_outside=self._allow_outside,
            max_jobs=self._max_jobs,
            jobs=tuple(self._jobs),
            site=self._site,
        )

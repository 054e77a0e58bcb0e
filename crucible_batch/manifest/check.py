"""The check of a manifest's form: all that can be told of it without rendering and without the files of its jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.manifest import rules, shape
from crucible_batch.manifest.manifest import UNKNOWN_WORKFLOW, UNNAMED, VALUES, Manifest, Reading
from crucible_batch.manifest.marks import Apart
from crucible_batch.manifest.models import Header, Job
from crucible_batch.manifest.plain import PlainJob, plain_job
from crucible_batch.manifest.site import Site
from crucible_batch.manifest.wording import kind
from crucible_batch.manifest.yaml_tree import MAX_WARNINGS, Document

# A key that a rule is broken in is left out, lest each job repeat it; but not these: nothing else depends on theirs.
_KEPT = frozenset({"params", "workflows"})


class FormCheck:
    """Checks one document: collects problems, and keeps what is sound so that it can be checked further."""

    def __init__(
        self, document: Document, site: Site, overrides: Mapping[str, str], *, allow_outside: bool, max_jobs: int
    ) -> None:
        self._site = site
        self._overrides = overrides
        self._allow_outside = allow_outside
        self._max_jobs = max_jobs
        self._problems = document.problems
        self._warnings = list(document.warnings)
        self._broken: set[int] = set()
        self._faulty: dict[int, frozenset[str]] = {}
        self._unknown: set[str] = set()

    def reading(self, sha256: str) -> Reading:
        header = self._header()
        self._jobs(header)
        return Reading(self._made(header, sha256), self._problems)

    def _header(self) -> Header:
        self._unknown = shape.doubtful(Header, self._site) - _KEPT
        header = shape.validate(Header, self._site, without=("jobs",))
        if isinstance(header, shape.Rejected):
            self._unknown |= self._reported(header, self._site)
            self._unknown |= {f"workflows.{workflow_id}" for workflow_id in header.members("workflows")}
        header = self._salvaged()
        between = list(rules.header_problems(header, self._site))
        self._problems.extend(between)
        self._unknown.update({_key(problem, self._site) for problem in between} - _KEPT)
        header = self._salvaged()
        if "vars" not in self._unknown:
            self._problems.extend(rules.override_problems(self._overrides, header, self._site))
        return header

    def _salvaged(self) -> Header:
        lost: dict[str, object] = {"workflow": UNKNOWN_WORKFLOW} if "workflow" in self._unknown else {}
        if "workflows" in self._unknown and isinstance(raw := self._site.value.get("workflows"), dict):
            lost["workflows"] = {key: raw[key] for key in raw if f"workflows.{key}" not in self._unknown}
        return shape.salvaged(Header, self._site.value, self._unknown, version=1, name=UNNAMED, **lost)

    def _reported(self, rejected: shape.Rejected, site: Site) -> set[str]:
        """Report what is wrong with the shape. Return the keys in doubt: what a mistyped one was meant for is, too."""
        reported = rejected.report(self._problems)
        meant = {problem.nearest for problem in reported if problem.nearest is not None}
        return rejected.keys | meant.difference(site.value)

    def _jobs(self, header: Header) -> None:
        jobs = self._site.value.get("jobs")
        if not isinstance(jobs, list | Apart) or not jobs:
            if "jobs" not in self._unknown and self._site.is_sound(("jobs",), within=False):
                message = f"must list jobs, not {_shown(jobs)}" if "jobs" in self._site.value else "`jobs` is missing"
                self._problems.add(self._site.problem(("jobs",), message))
            return
        used = {header.workflow} if header.workflow else set[str]()
        count = 0
        for index, site in enumerate(self._site.items("jobs")):
            job = self._job(header, site, index)
            if job is None:
                self._broken.add(index)
                continue
            used.add(job.workflow or header.workflow or "")
            made = rules.job_count(job, header)
            if count <= self._max_jobs < count + made:
                self._problems.add(rules.too_many(site, self._max_jobs))
                self._broken.add(index)
            count += made
        self._warn(rules.header_warnings(header, self._site, used))

    def _job(self, header: Header, site: Site, index: int) -> Job | PlainJob | None:
        """Check one entry. Return what is sound of it, or None where that is nothing."""
        plain = plain_job(site.value)
        if plain is not None and site.is_sound(()) and rules.is_sound_plain(plain, header):
            return plain
        job = shape.validate(Job, site)
        if not isinstance(site.value, dict):
            if isinstance(job, shape.Rejected):
                job.report(self._problems)
            return None
        unknown = {VALUES if key == "params" else key for key in shape.doubtful(Job, site)}
        if isinstance(job, shape.Rejected):
            unknown |= self._reported(job, site)
        if unknown or isinstance(job, shape.Rejected):
            job = shape.salvaged(Job, site.value, unknown, name=UNNAMED)
        found: set[str] = set()
        for problem in rules.job_problems(job, header, site):
            key = _key(problem, site)
            if key not in unknown:  # as the workflow may be that the job seems to lack
                self._problems.add(problem)
                found.add(key)
        unknown |= found - _KEPT
        self._warn(rules.job_warnings(job, site))
        if not unknown:
            return job
        self._faulty[index] = frozenset(unknown)
        return shape.salvaged(Job, site.value, unknown, name=UNNAMED)

    def _warn(self, warnings: Iterable[Problem]) -> None:
        for warning in warnings:
            if len(self._warnings) >= MAX_WARNINGS:
                return
            self._warnings.append(warning)

    def _made(self, header: Header, sha256: str) -> Manifest:
        return Manifest(
            path=self._site.file,
            directory=Path(os.path.abspath(self._site.file.parent)),  # noqa: PTH100 - links are not followed here
            sha256=sha256,
            name=header.name,
            workflow=header.workflow,
            params=header.params,
            workflows=header.workflows,
            budget=header.budget,
            vars={**header.vars, **self._overrides},
            matrix=header.matrix,
            output=header.output,
            retry=header.retry,
            assets=header.assets,
            provenance=header.provenance,
            duplicates="each" if "duplicates" in self._unknown else header.duplicates,
            warnings=tuple(sorted(self._warnings, key=lambda warning: warning.place)),
            allow_outside=self._allow_outside,
            max_jobs=self._max_jobs,
            site=self._site,
            broken=frozenset(self._broken),
            unknown=frozenset(self._unknown),
            faulty=self._faulty,
        )


def _key(problem: Problem, site: Site) -> str:
    """Return the key at ``site`` that a problem is about."""
    within = problem.field.removeprefix(site.field(())).removeprefix(".")
    return within.partition(".")[0].partition("[")[0]


def _shown(jobs: object) -> str:
    return "none" if jobs is None or (isinstance(jobs, list | Apart) and not jobs) else kind(jobs)

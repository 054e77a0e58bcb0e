"""Reads a manifest file and checks all of it that can be checked without rendering: ``load_manifest``."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.manifest import rules, shape, yaml_tree
from crucible_batch.manifest.collector import Collector
from crucible_batch.manifest.expand import expand
from crucible_batch.manifest.manifest import Manifest
from crucible_batch.manifest.models import Header, Job
from crucible_batch.manifest.site import Site
from crucible_batch.manifest.wording import kind

MAX_JOBS = 100_000
MAX_BYTES = 64 * 1024 * 1024
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
# Where one of these is wrong, what templates would say about missing variables is only an echo of it.
_SETS_VARIABLES = frozenset({"vars", "matrix"})


def load_manifest(
    path: Path,
    *,
    overrides: Mapping[str, str] = _NO_OVERRIDES,
    allow_outside: bool = False,
    max_jobs: int = MAX_JOBS,
    max_bytes: int = MAX_BYTES,
) -> Manifest:
    """Read the manifest at ``path``. Raises ``ManifestError`` with all problems found, and nothing else.

    ``overrides`` replace values of ``vars``. Files outside the manifest's directory are refused unless
    ``allow_outside``. Rendering, and reading the files that jobs name, is left to ``expand``; only where a manifest
    is refused are the sound jobs expanded here too, so that the author hears of everything at once.
    """
    content = _read(path, max_bytes)
    document = yaml_tree.parse(_decoded(content, path), path)
    site = Site(document, document.value)
    if not isinstance(document.value, dict):
        message = f"a manifest is a mapping with keys such as `name` and `jobs`, not {kind(document.value)}"
        raise ManifestError([site.problem((), message)])
    return _Check(path, site, overrides, allow_outside, max_jobs).manifest(hashlib.sha256(content).hexdigest())


class _Check:
    """The check of one manifest: collects problems, then makes the ``Manifest`` or raises them all."""

    def __init__(
        self, path: Path, site: Site, overrides: Mapping[str, str], allow_outside: bool, max_jobs: int
    ) -> None:
        self._path = path
        self._site = site
        self._overrides = overrides
        self._allow_outside = allow_outside
        self._max_jobs = max_jobs
        self._problems = Collector()
        self._warnings = list(site.document.warnings)
        self._broken: set[int] = set()
        self._bad_keys: set[str] = set()

    def manifest(self, sha256: str) -> Manifest:
        header = self._header()
        nodes = self._jobs(header)
        manifest = self._made(header, nodes, sha256)
        if self._problems:
            if not self._bad_keys & _SETS_VARIABLES:
                self._problems.extend(item for item in expand(manifest) if isinstance(item, Problem))
            raise self._problems.error()
        return manifest

    def _header(self) -> Header:
        header = shape.validate(Header, self._site, without=("jobs",))
        if isinstance(header, shape.Rejected):
            reported = header.report(self._problems)
            self._bad_keys = header.keys | {problem.nearest for problem in reported if problem.nearest}
            header = self._repaired()
        between = list(rules.header_problems(header, self._site))
        self._bad_keys.update(_top_key(problem) for problem in between)
        self._problems.extend(between)
        self._problems.extend(rules.override_problems(self._overrides, header, self._site))
        return header

    def _repaired(self) -> Header:
        """Make a header without what is wrong, so that the rest can be checked too."""
        sound = {key: value for key, value in self._site.value.items() if key in Header.model_fields}
        for key in self._bad_keys:
            sound.pop(key, None)
        return Header.model_validate({"version": 1, "name": "unnamed", "workflow": "unknown", **sound})

    def _jobs(self, header: Header) -> array[int]:
        jobs = self._site.value.get("jobs")
        if not isinstance(jobs, list) or not jobs:
            message = "`jobs` is missing" if "jobs" not in self._site.value else f"must list jobs, not {_shown(jobs)}"
            self._problems.add(self._site.problem(("jobs",), message))
            return array("I")
        document = self._site.document
        nodes = document.marks.items(jobs, document.marks.find(self._site.value, 0, ("jobs",)))
        used = {header.workflow} if header.workflow else set[str]()
        count = 0
        for index, (raw, node) in enumerate(zip(jobs, nodes, strict=True)):
            site = Site(document, raw, node, ("jobs", index))
            job = self._job(header, site)
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
        return nodes

    def _job(self, header: Header, site: Site) -> Job | None:
        job = shape.validate(Job, site)
        if isinstance(job, shape.Rejected):
            job.report(self._problems)
            return None
        problems = list(rules.job_problems(job, header, site))
        self._problems.extend(problems)
        self._warn(rules.job_warnings(job, site))
        return None if problems else job

    def _warn(self, warnings: Iterable[Problem]) -> None:
        for warning in warnings:
            if len(self._warnings) >= yaml_tree.MAX_WARNINGS:
                return
            self._warnings.append(warning)

    def _made(self, header: Header, nodes: array[int], sha256: str) -> Manifest:
        return Manifest(
            path=self._path,
            directory=Path(os.path.abspath(self._path.parent)),  # noqa: PTH100 - links are not followed here
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
            duplicates=header.duplicates,
            warnings=tuple(sorted(self._warnings, key=lambda warning: warning.place)),
            allow_outside=self._allow_outside,
            max_jobs=self._max_jobs,
            site=self._site,
            nodes=nodes,
            broken=frozenset(self._broken),
        )


def _top_key(problem: Problem) -> str:
    return problem.field.partition(".")[0].partition("[")[0]


def _shown(jobs: object) -> str:
    return "none" if jobs == [] or jobs is None else kind(jobs)


def _read(path: Path, max_bytes: int) -> bytes:
    """Return the file's bytes; its size is looked at before anything is read."""
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _whole_file(path, "the manifest is no regular file")
            if status.st_size > max_bytes:
                raise _too_large(path, status.st_size, max_bytes)
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise _whole_file(path, f"the manifest can't be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in the path
        raise _whole_file(path, "the manifest can't be read: its path holds a NUL character") from None
    if len(content) > max_bytes:
        raise _too_large(path, len(content), max_bytes)
    return content


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else opening a pipe would wait for somebody to write to it


def _whole_file(path: Path, message: str, hint: str | None = None) -> ManifestError:
    return ManifestError([Problem(Place(path), "", message, hint=hint)])


def _too_large(path: Path, size: int, max_bytes: int) -> ManifestError:
    message = f"the manifest has {size:,} bytes, and {max_bytes:,} are allowed"
    return _whole_file(path, message, "keep rows in a .csv or .jsonl file and use `foreach`; --max-manifest-size")


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        place = Place(path, line, column)
        raise ManifestError([Problem(place, "", "the manifest is not UTF-8", hint="save the file as UTF-8")]) from None

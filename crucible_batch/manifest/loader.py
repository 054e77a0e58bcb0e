"""Reads a manifest file: ``load_manifest`` one that is sound, ``read_manifest`` any, with all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.manifest import yaml_reader
from crucible_batch.manifest.expand import expand
from crucible_batch.manifest.manifest import Manifest, Reading
from crucible_batch.manifest.source_file import Source, Spool, whole_file
from crucible_batch.manifest.source_map import SourceNode, kind
from crucible_batch.manifest.validation import FormCheck

MAX_JOBS = 100_000
MAX_BYTES = 64 * 1024 * 1024
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


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
    is refused are its jobs expanded here too, so that the author hears of everything at once.
    """
    reading = read_manifest(
        path, overrides=overrides, allow_outside=allow_outside, max_jobs=max_jobs, max_bytes=max_bytes
    )
    if reading.problems and not reading.problems.full:
        reading.problems.extend(item for item in expand(reading.manifest) if isinstance(item, Problem))
    reading.problems.raise_if_any()
    return reading.manifest


def read_manifest(
    path: Path,
    *,
    overrides: Mapping[str, str] = _NO_OVERRIDES,
    allow_outside: bool = False,
    max_jobs: int = MAX_JOBS,
    max_bytes: int = MAX_BYTES,
    watch: Callable[[], None] = lambda: None,
) -> Reading:
    """Read the manifest at ``path`` as ``load_manifest`` does, and return it together with the problems of its form.

    Raises ``ManifestError`` where there is nothing to go on with: no file, no text, no YAML, no mapping.
    ``watch`` is called over and over, also where the jobs are read again later, and may raise to end the work.
    """
    spool = Spool(watch)
    with Source.opened(path, max_bytes) as source:
        try:
            document = yaml_reader.read(source, path, "jobs", spool)
            source.finish()
        except OSError as error:
            raise _no_room(path, error) from error
    site = SourceNode(path, document.value, document.marks)
    if not isinstance(document.value, dict):
        message = f"a manifest is a mapping with keys such as `name` and `jobs`, not {kind(document.value)}"
        document.problems.add(site.problem((), message))
        raise document.problems.error()
    check = FormCheck(document, site, overrides, allow_outside=allow_outside, max_jobs=max_jobs)
    return check.reading(source.sha256)


def _no_room(path: Path, error: OSError) -> ManifestError:
    return whole_file(
        path,
        f"the manifest's jobs can't be kept in the temporary directory: {error.strerror}",
        "make room there, or name another directory in TMPDIR; nothing was spent",
    )

"""Reads a manifest file and checks its form: ``load_manifest``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from crucible_batch.errors import ManifestError
from crucible_batch.manifest import yaml_reader
from crucible_batch.manifest.manifest import Manifest
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
    watch: Callable[[], None] = lambda: None,
) -> Manifest:
    """Read the manifest at ``path``. Raises ``ManifestError`` with all problems of its form, and nothing else.

    ``overrides`` replace values of ``vars``. Files outside the manifest's directory are refused unless
    ``allow_outside``. Rendering, and reading the files that jobs name, is left to ``expand``. ``watch`` is called over
    and over, also where the jobs are read again later, and may raise to end the work.
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
    return check.manifest(source.sha256)


def _no_room(path: Path, error: OSError) -> ManifestError:
    return whole_file(
        path,
        f"the manifest's jobs can't be kept in the temporary directory: {error.strerror}",
        "make room there, or name another directory in TMPDIR; nothing was spent",
    )

"""Reads a manifest file: ``load_manifest`` one that is sound, ``read_manifest`` any, with all that is wrong with it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.manifest import yaml_tree
from crucible_batch.manifest.check import FormCheck
from crucible_batch.manifest.expand import expand
from crucible_batch.manifest.manifest import Manifest, Reading
from crucible_batch.manifest.site import Site
from crucible_batch.manifest.wording import kind

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
) -> Reading:
    """Read the manifest at ``path`` as ``load_manifest`` does, and return it together with the problems of its form.

    Raises ``ManifestError`` where there is nothing to go on with: no file, no text, no YAML, no mapping.
    """
    content = _read(path, max_bytes)
    document = yaml_tree.parse(_decoded(content, path), path)
    site = Site(document, document.value)
    if not isinstance(document.value, dict):
        message = f"a manifest is a mapping with keys such as `name` and `jobs`, not {kind(document.value)}"
        document.problems.add(site.problem((), message))
        raise document.problems.error()
    check = FormCheck(path, site, overrides, allow_outside=allow_outside, max_jobs=max_jobs)
    return check.reading(hashlib.sha256(content).hexdigest())


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

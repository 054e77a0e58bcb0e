"""Reading of a manifest file, with the check of its form: ``load_manifest``."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from crucible_batch.atomic_files import open_at_once
from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.features import found
from crucible_batch.manifest import yaml_reader
from crucible_batch.manifest.manifest import Manifest
from crucible_batch.manifest.source_map import kind
from crucible_batch.manifest.validation import FormCheck
from crucible_batch.manifest.value import written

MAX_JOBS = 100_000
MAX_BYTES = 16 * 1024 * 1024
_BYTES_PER_VALUE = 32  # so that a larger --max-manifest-size also allows more values
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def load_manifest(
    path: Path,
    *,
    content: bytes | None = None,
    overrides: Mapping[str, str] = _NO_OVERRIDES,
    allow_outside: bool = False,
    max_jobs: int = MAX_JOBS,
    max_bytes: int = MAX_BYTES,
    watch: Callable[[], None] = lambda: None,
) -> Manifest:
    """Read the manifest at ``path``. Raises ``ManifestError`` with all problems of its form.

    If ``content`` is given, it is read in place of the file; ``path`` is then for messages, and its
    directory is the manifest's. ``overrides`` replace values of ``vars``. Files outside the
    manifest's directory are rejected unless ``allow_outside`` is set. Templates are rendered, and
    files that jobs name are read, by ``expand``. ``watch`` is called repeatedly during parsing and
    may raise to abort; no other error is raised.
    """
    reading = DocumentReader(max_bytes, watch)
    if content is None:
        content = reading.content(path)
    document = reading.parsed(content, path)
    for feature in found("manifest_document"):
        document = feature.completed(document, reading, allow_outside=allow_outside)
    merged = None
    if document.bases:
        content = merged = written(document.root.value)
    check = FormCheck(document, overrides, allow_outside=allow_outside, max_jobs=max_jobs)
    manifest = check.manifest(hashlib.sha256(content).hexdigest())
    return replace(manifest, merged=merged, bases=document.bases)


class DocumentReader:
    """Reads the files that a manifest is made of. ``watch`` is that of ``load_manifest``."""

    def __init__(self, max_bytes: int, watch: Callable[[], None]) -> None:
        self._max_bytes = max_bytes
        self._watch = watch

    def content(self, path: Path) -> bytes:
        """Return a file's bytes. Raises ``ManifestError``."""
        return _content(path, self._max_bytes)

    def parsed(self, content: bytes, path: Path) -> yaml_reader.Document:
        """Return a document whose root is a mapping; ``path`` is for messages.

        Raises ``ManifestError`` with all problems.
        """
        max_values = max(yaml_reader.MAX_VALUES, self._max_bytes // _BYTES_PER_VALUE)
        text = _text(content, path)
        document = yaml_reader.parse(text, path, max_values=max_values, watch=self._watch)
        root = document.root
        if not isinstance(root.value, dict):
            message = (
                "a manifest must be a mapping with keys such as `name` and `jobs`, "
                f"got {kind(root.value)}"
            )
            document.problems.add(root.problem((), message))
            raise document.problems.error()
        return document


def _content(path: Path, max_bytes: int) -> bytes:
    """Return a manifest's bytes.

    The size is checked before reading, and again after it in case the file grows.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _whole_file(path, "the manifest is not a regular file")
            content = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
            size = max(status.st_size, len(content))
    except OSError as error:
        message = f"the manifest can't be read: {(error.strerror or str(error)).lower()}"
        raise _whole_file(path, message, _hint(path, error)) from None
    except ValueError:  # a NUL in the path
        raise _whole_file(
            path, "the manifest can't be read: its path contains a NUL character"
        ) from None
    if size > max_bytes:
        message = f"the manifest has {size:,} bytes; the limit is {max_bytes:,}"
        raise _whole_file(path, message, yaml_reader.USE_A_TABLE)
    return content


def _hint(path: Path, error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "crucible-batch init DIR creates a folder with an example manifest"
    if not isinstance(error, IsADirectoryError):
        return None
    usual = path / "manifest.yaml"
    if usual.is_file():
        return f"give the manifest in it: {usual}"
    if (path / ".crucible" / "journal.sqlite3").is_file():
        return "it is a run directory; give the manifest of the run, a YAML file"
    return "give the path of a manifest, a YAML file"


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig")
        place = Place(path, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ManifestError(
            [Problem(place, "", "the manifest is not UTF-8", hint="save the file as UTF-8")]
        ) from None


def _whole_file(path: Path, message: str, hint: str | None = None) -> ManifestError:
    return ManifestError([Problem(Place(path), "", message, hint=hint)])

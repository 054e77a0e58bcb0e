"""The directory of an export, and the record of what was written into it.

``.crucible-export.jsonl`` in it has what the export is of, and a line for each file: its path, its
key and the digest of its bytes. The line is durable before the file has its name, so after a kill
each file that was written is known, and each is complete, since it is renamed into place.

    at the path            in the record                   what is done
    nothing                any                             written
    a file, as written     with the same key               nothing
    a file, changed since  with the same key               nothing, and it is named
    a file, as written     with another key                replaced
    a file, as written     not part of the export now      removed
    a file, changed since  not part of the export now      nothing, and it is named
    any other file         any                             refused, before anything is written
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.errors import UserError
from crucible_batch.features.export.forms import ArchiveFile, ExportFile
from crucible_batch.outputs import Folder
from crucible_batch.outputs.safe_fs import NOT_OURS, folder_of, write_all

RECORD = ".crucible-export.jsonl"
_PART = f"{TEMPORARY_PREFIX}export"
_MAX_RECORD_BYTES = 512 * 1024 * 1024
_VERSION = 1
_OTHER = "give another directory with -o"


class FileFate(enum.Enum):
    """What is done with a file of an export."""

    WRITTEN = enum.auto()
    REPLACED = enum.auto()
    KEPT = enum.auto()
    EDITED = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class ExportSubject:
    """What a directory has an export of."""

    form: str
    manifest: str
    run_id: str
    gateway: str


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    sha256: str


class ExportFolder:
    """A directory that is locked by this process. No link is followed below it."""

    def __init__(self, directory: Path, subject: ExportSubject) -> None:
        self._directory = directory
        self._subject = subject
        self._entries: dict[str, list[_Entry]] = {}
        self._has_record = False
        self._is_cut = False
        """Whether the last line of the record is incomplete, after a kill."""

    @classmethod
    @contextmanager
    def locked(cls, directory: Path, subject: ExportSubject) -> Iterator[Self]:
        """Make the directory, and lock it during the block.

        Raises ``UserError`` if it has an export of something else, or another process exports into
        it, and ``OSError``.
        """
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(descriptor, directory)
            folder = cls(directory, subject)
            folder._read()
            folder._sweep()
            yield folder
        finally:
            os.close(descriptor)

    # -- what is there

    def fate(self, file: ExportFile) -> FileFate:
        """Return what is to be done with a file."""
        entries = self._entries.get(file.path, [])
        try:
            with self._folder(file.path) as folder:
                found = folder.stat(PurePosixPath(file.path).name)
        except FileNotFoundError:
            return FileFate.WRITTEN
        except OSError as error:
            if error.errno in NOT_OURS:
                return FileFate.REFUSED
            raise
        if found is None:
            return FileFate.WRITTEN
        if not entries or not stat.S_ISREG(found.st_mode):
            return FileFate.REFUSED
        is_same = entries[-1].key == file.key
        if is_same and isinstance(file, ArchiveFile) and len(entries) == 1:
            return FileFate.KEPT  # it may be too large to be read each time
        digest = self._digest(file.path)
        if is_same and entries[-1].sha256 == digest:
            return FileFate.KEPT
        if is_same and len(entries) == 1:
            return FileFate.EDITED
        return FileFate.REPLACED if self._is_ours(file.path, digest) else FileFate.REFUSED

    def others(self, paths: Set[str]) -> list[str]:
        """Return the recorded paths that are not among these."""
        return [path for path in self._entries if path not in paths]

    def _is_ours(self, path: str, digest: str | None) -> bool:
        return any(entry.sha256 == digest for entry in self._entries.get(path, []))

    def _digest(self, path: str) -> str | None:
        try:
            with self._folder(path) as folder:
                return folder.digest(PurePosixPath(path).name)
        except OSError:
            return None

    # -- changes

    def announce(self, files: Iterable[ExportFile]) -> None:
        """Record files that are about to be written: all but archives, whose digest is not known
        yet."""
        self._record(
            (file.path, _Entry(file.key, file.key))
            for file in files
            if not isinstance(file, ArchiveFile)
        )

    def put(self, file: ExportFile, make: Callable[[Folder, str], None]) -> None:
        """Write a file. ``make`` creates it under a temporary name in its open folder.

        Raises ``OSError``, and what ``make`` raises; then the file is as it was.
        """
        name = PurePosixPath(file.path).name
        part = f"{_PART}-{os.getpid()}"
        with self._folder(file.path, make=True) as folder:
            folder.unlink(part)
            try:
                make(folder, part)
                if isinstance(file, ArchiveFile):
                    digest = folder.digest(part)
                    assert digest is not None  # it was made
                    self._record([(file.path, _Entry(file.key, digest))])
                folder.replace(part, name)
            finally:
                folder.unlink(part)

    def remove(self, path: str) -> bool:
        """Remove a file that is not part of the export any more, and its record.

        Returns False if it was changed: then it is left, with its record.
        """
        digest = self._digest(path)
        try:
            with self._folder(path) as folder:
                name = PurePosixPath(path).name
                if folder.stat(name) is not None:
                    if digest is None or not self._is_ours(path, digest):
                        return False
                    folder.unlink(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in NOT_OURS:
                return False
            raise
        del self._entries[path]
        return True

    # -- the record

    def settle(self) -> None:
        """Make the names of all files durable, and write the record again with a line for each."""
        for place in self._places():
            with self._folder((place / "any").as_posix()) as folder:
                folder.sync()
        lines = [self._head()]
        for path, entries in self._entries.items():
            self._entries[path] = entries[-1:]
            lines.append(_line(path, entries[-1]))
        with self._root() as folder:
            part = f"{_PART}-record-{os.getpid()}"
            folder.unlink(part)
            with folder.create(part) as file:
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
            folder.replace(part, RECORD)
            folder.sync()
        self._has_record, self._is_cut = True, False

    def _record(self, entries: Iterable[tuple[str, _Entry]]) -> None:
        """Add lines to the record, durably."""
        if not self._has_record:
            self.settle()
        text = "\n" if self._is_cut else ""
        for path, entry in entries:
            known = self._entries.setdefault(path, [])
            if known[-1:] != [entry]:
                known.append(entry)
                text += _line(path, entry)
        with self._root() as folder:
            descriptor = folder.open(RECORD, os.O_WRONLY | os.O_APPEND)
            try:
                write_all(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._is_cut = False

    def _read(self) -> None:
        """Read the record. Raises ``UserError`` if it is that of another export."""
        path = self._directory / RECORD
        try:
            with self._root() as folder, folder.read(RECORD) as file:
                content = file.read(_MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{path} can't be read: {error.strerror}", hint=_OTHER) from error
        self._has_record, self._is_cut = True, not content.endswith(b"\n")
        head, *lines = _json_lines(content)
        if head.get("version") != _VERSION:
            raise UserError(f"{path} is not the record of an export", hint=_OTHER)
        ours = asdict(self._subject)
        if any(head.get(name) != value for name, value in ours.items()):
            words = f"{head.get('form')} of {head.get('manifest')}, {head.get('run_id')}"
            raise UserError(
                f"{self._directory} has another export: {words}, at {head.get('gateway')}",
                hint=_OTHER,
            )
        for line in lines:
            found, key, digest = line.get("path"), line.get("key"), line.get("sha256")
            if isinstance(found, str) and isinstance(key, str) and isinstance(digest, str):
                self._entries.setdefault(found, []).append(_Entry(key, digest))

    def _head(self) -> str:
        return json.dumps({"version": _VERSION, **asdict(self._subject)}) + "\n"

    def _sweep(self) -> None:
        """Remove the temporary files of killed exports."""
        for place in self._places():
            with contextlib.suppress(OSError), self._folder((place / "any").as_posix()) as folder:
                with folder.entries() as entries:
                    left = [each.name for each in entries if each.name.startswith(_PART)]
                for name in left:
                    folder.unlink(name)

    # -- folders

    def _places(self) -> set[PurePosixPath]:
        return {PurePosixPath(path).parent for path in self._entries} | {PurePosixPath()}

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[Folder]:
        """Open the folder of a file. Raises ``OSError``, also for a path that a record may not
        have."""
        parts = PurePosixPath(path).parts
        if not parts or any(part.startswith(".") and part != RECORD for part in parts):
            raise OSError(22, "not the path of an export", path)
        with folder_of(self._directory, path, make=make) as folder:
            yield folder

    def _root(self) -> contextlib.AbstractContextManager[Folder]:
        return folder_of(self._directory, RECORD)


def made_by(content: Callable[[BinaryIO], object]) -> Callable[[Folder, str], None]:
    """Return what makes a file whose bytes ``content`` writes, and syncs it."""

    def make(folder: Folder, name: str) -> None:
        with folder.create(name) as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())

    return make


def _line(path: str, entry: _Entry) -> str:
    return json.dumps({"path": path, "key": entry.key, "sha256": entry.sha256}) + "\n"


def _json_lines(content: bytes) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a file with one a line; at least one.

    The last line may be incomplete, after a kill.
    """
    found: list[Mapping[str, Any]] = []
    for line in io.BytesIO(content):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found or [{}]


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process exports into {directory}", hint="wait until it has ended"
        ) from None
    except OSError:
        return  # a file system without locks

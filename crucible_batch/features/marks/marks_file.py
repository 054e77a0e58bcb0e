"""``marks.json`` in a run directory: which outputs are picked, ratings, and the notes of jobs.

    {"version": 1,
     "marks": {"hero-3/0 3fa9c1d2e4b5": {"mark": "picked", "rating": 4}},
     "notes": {"hero-3": "softer light"}}

A mark is about bytes, as a rejection is: its key has the job, the number of the output, and the
first 12 digits of its SHA-256 as the gateway sent it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from crucible_batch.atomic_files import open_at_once, replacing
from crucible_batch.errors import UserError
from crucible_batch.features.redo.rejections import DIGITS

MARKS_FILE = "marks.json"
MAX_MARKS_BYTES = 32 * 1024 * 1024
MAX_NOTE = 1000
MAX_RATING = 5
_LOCK = Path(".crucible", "marks.lock")
_MAX_NAME = 1000

OutputKey = Annotated[
    str,
    StringConstraints(
        pattern=rf"^[^/\x00-\x1f\x7f]{{1,{_MAX_NAME}}}/[0-9]{{1,9}} [0-9a-f]{{{DIGITS}}}$"
    ),
]
JobName = Annotated[str, StringConstraints(pattern=rf"^[^/\x00-\x1f\x7f]{{1,{_MAX_NAME}}}$")]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class OutputMark(_Model):
    """What was decided about an output. A rejected one is in the file of rejections instead."""

    mark: Literal["picked"] | None = None
    rating: int = Field(0, ge=0, le=MAX_RATING)


class Marks(_Model):
    """The content of the file."""

    version: Literal[1] = 1
    marks: dict[OutputKey, OutputMark] = Field(default_factory=dict)
    notes: dict[JobName, Note] = Field(default_factory=dict)


def read_marks(directory: Path) -> Marks:
    """Return the marks of a run; none if there is no file. Raises ``UserError``."""
    path = directory / MARKS_FILE
    try:
        content = _content(path)
    except FileNotFoundError:
        return Marks()
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}", hint="check its permissions"
        ) from error
    try:
        if content is not None:
            return Marks.model_validate_json(content)
    except ValidationError:
        pass
    raise UserError(
        f"{path} is not a file of marks; nothing was written to it",
        hint="move it away, or restore it",
    )


def _content(path: Path) -> bytes | None:
    """Return the content of a file; None if it is too large or not a regular file.

    A link is not followed. Raises ``OSError``.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    descriptor = open_at_once(os.fspath(path), os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        content = file.read(MAX_MARKS_BYTES + 1)
    return content if len(content) <= MAX_MARKS_BYTES else None


def write_marks(directory: Path, marks: Marks) -> None:
    """Replace the file, durably. Its lock must be held. Raises ``UserError``."""
    path = directory / MARKS_FILE
    content = marks.model_dump_json(indent=1, exclude_defaults=True, exclude={"version"})
    content = '{\n "version": 1' + ("," if content != "{}" else "") + content[1:] + "\n"
    encoded = content.encode()
    if len(encoded) > MAX_MARKS_BYTES:
        raise UserError(
            f"{path} would be larger than {MAX_MARKS_BYTES // 1024**2} MiB",
            hint="remove notes or marks",
        )
    with _explained(path), replacing(path) as file:
        file.write(encoded)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the file: a change reads it and writes it again. Raises ``UserError``."""
    path = directory / _LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _explained(path):
        descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} can't be written: {error.strerror}",
            hint="check the disk, and the permissions of the run directory",
        ) from error

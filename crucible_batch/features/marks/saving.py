"""Saves decisions about pictures: into ``marks.json``, and rejections into their own file.

Rejections are written by the code of the command ``reject``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crucible_batch.errors import UserError
from crucible_batch.features.marks.marks_file import (
    MAX_RATING,
    JobName,
    Note,
    OutputKey,
    OutputMark,
    locked,
    read_marks,
    write_marks,
)
from crucible_batch.features.redo.rejecting import OutputBytes, change_rejections

MOST_CHANGES = 1000
_KEY = re.compile(r"(?P<name>[^/]+)/(?P<index>[0-9]+) (?P<digits>[0-9a-f]+)")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class MarkChange(_Model):
    """A change of an output's mark. What is left out stays as it is."""

    mark: Literal["picked"] | None = None
    rating: int = Field(0, ge=0, le=MAX_RATING)


class Changes(_Model):
    """What a page asks to save.

    An empty note removes it. ``restored`` are outputs whose rejections are taken back.
    """

    marks: dict[OutputKey, MarkChange] = Field(default_factory=dict, max_length=MOST_CHANGES)
    notes: dict[JobName, Note] = Field(default_factory=dict, max_length=MOST_CHANGES)
    rejected: Annotated[list[OutputKey], Field(max_length=MOST_CHANGES)] = []
    restored: Annotated[list[OutputKey], Field(max_length=MOST_CHANGES)] = []


def read_changes(content: bytes) -> Changes:
    """Raises ``UserError`` for what is not a change of marks."""
    try:
        return Changes.model_validate_json(content)
    except ValidationError as error:
        raise UserError(
            "this is not a change of marks", hint="reload the page, which may be out of date"
        ) from error


def save(directory: Path, changes: Changes) -> Sequence[str]:
    """Save the changes durably, and return the keys of rejected outputs that the run doesn't have.

    Those are not rejected. Raises ``UserError``, ``RunDirectoryError`` and ``JournalError``.
    """
    if changes.marks or changes.notes:
        _save_marks(directory, changes)
    if not changes.rejected and not changes.restored:
        return ()
    with locked(directory):
        unknown = change_rejections(
            directory, rejected=_outputs(changes.rejected), restored=_outputs(changes.restored)
        )
    return [key for key, output in zip(changes.rejected, _outputs(changes.rejected), strict=True)
            if output in unknown]  # fmt: skip


def _save_marks(directory: Path, changes: Changes) -> None:
    with locked(directory):
        before = read_marks(directory)
        marks, notes = dict(before.marks), dict(before.notes)
        for key, change in changes.marks.items():
            mark = marks.get(key, OutputMark()).model_copy(update=_given(change))
            marks[key] = mark
            if mark == OutputMark():
                del marks[key]
        for name, note in changes.notes.items():
            notes[name] = note
            if not note.strip():
                del notes[name]
        after = before.model_copy(update={"marks": marks, "notes": notes})
        if after != before:
            write_marks(directory, after)


def _given(change: MarkChange) -> Mapping[str, object]:
    return change.model_dump(include=change.model_fields_set)


def _outputs(keys: Iterable[str]) -> list[OutputBytes]:
    found = (_KEY.fullmatch(key) for key in keys)
    return [
        OutputBytes(match["name"], int(match["index"]), match["digits"])
        for match in found
        if match is not None
    ]

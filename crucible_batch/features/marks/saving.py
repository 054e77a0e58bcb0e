"""Saves decisions about pictures: into ``marks.json``, and rejections into their own file.

Rejections are written by the code of the command ``reject``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from crucible_batch.errors import UserError
from crucible_batch.features.marks.marks_file import (
    JobName,
    Note,
    OutputKey,
    OutputMark,
    locked,
    read_marks,
    write_marks,
)
from crucible_batch.features.redo.rejecting import OutputBytes, change_rejections
from crucible_batch.features.redo.rejections import MAX_REASON

MOST_CHANGES = 1000
Reason = Annotated[str, StringConstraints(max_length=MAX_REASON)]
_KEY = re.compile(r"(?P<name>[^/]+)/(?P<index>[0-9]+) (?P<digits>[0-9a-f]+)")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Changes(_Model):
    """What a page asks to save.

    What a mark leaves out stays as it is; an empty note removes it. ``reasons`` are those of
    ``rejected`` outputs, ``restored`` are outputs whose rejections are taken back before.
    """

    marks: dict[OutputKey, OutputMark] = Field(default_factory=dict, max_length=MOST_CHANGES)
    notes: dict[JobName, Note] = Field(default_factory=dict, max_length=MOST_CHANGES)
    rejected: Annotated[list[OutputKey], Field(max_length=MOST_CHANGES)] = []
    reasons: dict[OutputKey, Reason] = Field(default_factory=dict, max_length=MOST_CHANGES)
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
    keys = {_output(key): key for key in changes.rejected}
    rejected = {output: changes.reasons.get(key, "") for output, key in keys.items()}
    restored = [_output(key) for key in changes.restored]
    with locked(directory):
        unknown = change_rejections(directory, rejected=rejected, restored=restored)
    return [keys[output] for output in unknown]


def _save_marks(directory: Path, changes: Changes) -> None:
    with locked(directory):
        before = read_marks(directory)
        marks, notes = dict(before.marks), dict(before.notes)
        for key, change in changes.marks.items():
            given = change.model_dump(exclude_unset=True)
            marks[key] = marks.get(key, OutputMark()).model_copy(update=given)
            if marks[key] == OutputMark():
                del marks[key]
        for name, note in changes.notes.items():
            notes[name] = note
            if not note.strip():
                del notes[name]
        after = before.model_copy(update={"marks": marks, "notes": notes})
        if after != before:
            write_marks(directory, after)


def _output(key: str) -> OutputBytes:
    found = _KEY.fullmatch(key)
    assert found is not None  # it was validated
    return OutputBytes(found["name"], int(found["index"]), found["digits"])

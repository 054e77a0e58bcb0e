"""What the pages of a run have of its marks: those that are saved, and its rejections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.marks.marks_file import MARKS_FILE, read_marks
from crucible_batch.features.redo.rejecting import rejects_file_of
from crucible_batch.features.redo.rejections import DIGITS, read_rejections
from crucible_batch.features.redo.source import noted_file
from crucible_batch.journal import Journal

Fields = Mapping[str, Mapping[str, object]]
Seen = Sequence[tuple[Path, tuple[int, int, int] | None]]
"""Files, with what differs whenever one of them has been written since."""


def read(directory: Path) -> tuple[Fields, Seen]:
    """Read the fields of a page's data: the marks by outputs, and the notes by jobs. Blocking.

    ``problem`` is why some are missing: a file that can't be read does not hide the pictures.
    """
    seen = [_seen(directory / MARKS_FILE)]
    marks: dict[str, dict[str, object]] = {}
    notes: Mapping[str, str] = {}
    problems = list[str]()
    try:
        saved = read_marks(directory)
        marks = {key: mark.model_dump(exclude_defaults=True) for key, mark in saved.marks.items()}
        notes = saved.notes
    except CrucibleBatchError as error:
        problems.append(error.message)
    try:
        with Journal.read(directory) as journal:
            noted = noted_file(journal, directory)
        path = noted or rejects_file_of(directory)  # the second one reads the manifest
        seen.append(_seen(path))
        for line in read_rejections(path, str(path)):
            key = f"{line.output} {line.digits[:DIGITS]}"
            reason = {"reason": line.reason} if line.reason else {}
            marks[key] = {**marks.get(key, {}), "mark": "rejected", **reason}
    except CrucibleBatchError as error:
        problems.append(error.message)
    problem = "; ".join(problems) or None
    return {"marks": {"marks": marks, "notes": notes, "problem": problem}}, seen


def is_current(seen: Seen) -> bool:
    """Whether no file has been written since it was read."""
    return all(_seen(path) == (path, mark) for path, mark in seen)


def changes(before: Fields, after: Fields) -> Fields:
    """Return what differs between two readings, as a page takes it."""
    old, new = before["marks"], after["marks"]
    changed = {name: _differing(old[name], new[name]) for name in ("marks", "notes")}
    return {"marks": {**changed, "problem": new["problem"]}}


def _differing(before: object, after: object) -> Mapping[str, object]:
    """Return the entries that differ; None for one that was removed."""
    assert isinstance(before, Mapping)
    assert isinstance(after, Mapping)
    changed: dict[str, object] = dict.fromkeys(before.keys() - after.keys())
    changed |= {key: value for key, value in after.items() if before.get(key) != value}
    return changed


def _seen(path: Path) -> tuple[Path, tuple[int, int, int] | None]:
    try:
        found = path.lstat()
    except OSError:
        return path, None
    return path, (found.st_mtime_ns, found.st_size, found.st_ino)

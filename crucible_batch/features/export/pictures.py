"""Which outputs of a run are exported, under which names, and with which text.

An output is exported if it counts and is not rejected, and its job has succeeded; with ``picked``,
only if it is picked as well.

Names are made of the job's name and the output's number. A journal may come from another person, so
they are made safe here again, also for programs that give some names a meaning of their own.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crucible_batch.core.output_path import PICTURE_EXTENSIONS, fold_path
from crucible_batch.journal import Journal
from crucible_batch.report import JobRow, OutputRow
from crucible_batch.runs.decisions import decisions_of
from crucible_batch.runs.reporting import journal_rows

_EXTENSIONS = {f"image/{name.lower()}": ext for name, ext in PICTURE_EXTENSIONS.items()}
_OTHER_EXTENSION = ".img"
_KEPT = frozenset("-_.+=@,()! ")
_LETTERS_AND_DIGITS = frozenset("LMN")
"""The first letters of their categories in Unicode."""
_MOST_BYTES = 140
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ExportedPicture:
    """An output with its name in the export, which has no extension; ``ext`` is that, with its dot.

    ``path`` is relative to the run directory. ``text`` is the prompt of its job, or of the job from
    whose output that is made; ``about`` is what is known of it beside that.
    """

    name: str
    ext: str
    path: str
    sha256: str
    byte_size: int
    text: str
    about: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        return f"{self.name}{self.ext}"


def pictures_of(journal: Journal, directory: Path, *, picked: bool) -> Iterator[ExportedPicture]:
    """Yield the outputs of an open journal that are exported, in manifest order.

    ``directory`` is that of the journal. Raises ``UserError`` if a file of decisions is invalid.
    """
    decisions = decisions_of(journal, directory)
    names = _Names()
    texts: dict[str, str] = {}
    for row in journal_rows(journal):
        text = row.prompt
        if text is None and row.source is not None:
            text = texts.get(row.source.name)
        texts[row.name] = text or ""
        if row.status != "succeeded":
            continue
        for output in row.outputs:
            sent = output.sha256 if output.sent is None else output.sent.sha256
            if output.rejected is not None or decisions.is_rejected(row.name, output.index, sent):
                continue
            if picked and not decisions.is_picked(row.name, output.index, sent):
                continue
            yield ExportedPicture(
                names.name_for(row.name, output.index),
                _EXTENSIONS.get(output.mime_type, _OTHER_EXTENSION),
                output.path,
                output.sha256,
                output.byte_size,
                texts[row.name],
                _about(row, output),
            )


def _about(row: JobRow, output: OutputRow) -> dict[str, Any]:
    return {
        "job": row.name,
        "index": output.index,
        "generation": output.generation,
        "workflow_id": row.workflow_id,
        "width": output.width,
        "height": output.height,
        "sha256": output.sha256,
        "params": row.params,
        "axes": row.axes,
        "row": row.row,
    }


class _Names:
    """The names of an export: none is another one's on a file system that ignores case, nor if dots
    become underscores."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name_for(self, job: str, index: int) -> str:
        digits = hashlib.sha256(f"{job}/{index}".encode("utf-8", "replace")).hexdigest()[:_DIGITS]
        name = f"{safe_name(job, digits)}-{index}"
        if not self._take(name):
            name = f"{name}-{digits}"
            self._take(name)
        return name

    def _take(self, name: str) -> bool:
        folded = fold_path(name).replace(".", "_")
        is_new = folded not in self._taken
        self._taken.add(folded)
        return is_new


def safe_name(text: str, digits: str) -> str:
    """Return a text as the beginning of a file's name, on every system.

    ``digits`` are appended if it has to be cut.
    """
    name = "".join(map(_safe, unicodedata.normalize("NFC", text))).lstrip("-_.+=@,()! ")
    name = name or "picture"
    encoded = name.encode()
    if len(encoded) <= _MOST_BYTES:
        return name
    return f"{encoded[:_MOST_BYTES].decode(errors='ignore')}-{digits}"


def _safe(character: str) -> str:
    if character in _KEPT or unicodedata.category(character)[0] in _LETTERS_AND_DIGITS:
        return character
    return "-"

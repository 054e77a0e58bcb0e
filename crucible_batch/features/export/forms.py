"""The forms of an export, as files. Pure.

form         files
captions     NAME.png, NAME.txt
imagefolder  train/NAME.png, train/metadata.jsonl
webdataset   pictures-000000.tar ..., each with KEY.png, KEY.txt, KEY.json
csv          NAME.png, pictures.csv
zip          pictures.zip, with NAME.png, metadata.jsonl

Each file has a key, the digest of what it is made from: a file with the same key needs not be
written again.

The pictures of ``imagefolder`` are in a folder ``train``, since the loader of ``datasets`` would
take names of files such as ``test-1.png`` for those of other splits, and drop all other files.
"""

from __future__ import annotations

import csv
import enum
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crucible_batch.features.export.pictures import ExportedPicture

MOST_IN_SHARD = 1000
MOST_BYTES_OF_SHARD = 1024**3


class ExportForm(enum.StrEnum):
    """The form of an export."""

    CAPTIONS = "captions"
    IMAGEFOLDER = "imagefolder"
    WEBDATASET = "webdataset"
    CSV = "csv"
    ZIP = "zip"


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The bytes of an output. ``path`` is relative to the export, or to its archive."""

    path: str
    picture: ExportedPicture

    @property
    def key(self) -> str:
        return self.picture.sha256


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text, in UTF-8."""

    path: str
    content: bytes

    @property
    def key(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive, of the kind that its extension names, without compression."""

    path: str
    members: tuple[PictureFile | TextFile, ...]

    @property
    def key(self) -> str:
        listed = "".join(f"{member.path}\0{member.key}\n" for member in self.members)
        return hashlib.sha256(listed.encode()).hexdigest()


ExportFile = PictureFile | TextFile | ArchiveFile


def files_of(form: ExportForm, pictures: Sequence[ExportedPicture]) -> Iterator[ExportFile]:
    """Yield the files of an export; an index of pictures comes after them."""
    match form:
        case ExportForm.CAPTIONS:
            for picture in pictures:
                yield PictureFile(picture.file_name, picture)
                yield TextFile(f"{picture.name}.txt", _encoded(picture.text))
        case ExportForm.IMAGEFOLDER:
            yield from _with_metadata(pictures, "train/")
        case ExportForm.WEBDATASET:
            for number, shard in enumerate(_shards(pictures)):
                members = tuple(each for picture in shard for each in _sample(picture))
                yield ArchiveFile(f"pictures-{number:06d}.tar", members)
        case ExportForm.CSV:
            for picture in pictures:
                yield PictureFile(picture.file_name, picture)
            yield TextFile("pictures.csv", _table(pictures))
        case ExportForm.ZIP:
            yield ArchiveFile("pictures.zip", tuple(_with_metadata(pictures, "")))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _with_metadata(
    pictures: Sequence[ExportedPicture], folder: str
) -> Iterator[PictureFile | TextFile]:
    for picture in pictures:
        yield PictureFile(f"{folder}{picture.file_name}", picture)
    lines = "".join(_json({"file_name": each.file_name, **_columns(each)}) for each in pictures)
    yield TextFile(f"{folder}metadata.jsonl", _encoded(lines))


def _columns(picture: ExportedPicture) -> Mapping[str, Any]:
    """Return columns that have one type in all rows, as a loader needs it."""
    about = picture.about
    shown = ("job", "index", "workflow_id", "width", "height", "sha256")
    axes = {f"axis.{name}": value for name, value in about["axes"].items()}
    return {"text": picture.text, **{name: about[name] for name in shown}, **axes}


def _shards(pictures: Iterable[ExportedPicture]) -> Iterator[list[ExportedPicture]]:
    """Yield so many pictures that fit into a shard, in their order."""
    shard, size = list[ExportedPicture](), 0
    for picture in pictures:
        is_full = len(shard) >= MOST_IN_SHARD or size + picture.byte_size > MOST_BYTES_OF_SHARD
        if shard and is_full:
            yield shard
            shard, size = [], 0
        shard.append(picture)
        size += picture.byte_size
    if shard:
        yield shard


def _sample(picture: ExportedPicture) -> Iterator[PictureFile | TextFile]:
    # A key ends at the first dot.
    key = picture.name.replace(".", "_")
    yield PictureFile(f"{key}{picture.ext}", picture)
    yield TextFile(f"{key}.txt", _encoded(picture.text))
    yield TextFile(f"{key}.json", _encoded(_json({"text": picture.text, **picture.about})))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


# -- the table

_FORMULA = re.compile(r"[\s\x00-\x1f\u200b-\u200f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]")
"""How a cell begins that a spreadsheet takes for a formula; an apostrophe makes it text."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _table(pictures: Sequence[ExportedPicture]) -> bytes:
    """Return a table with a row for each picture.

    It begins with the byte order mark by which spreadsheets recognise UTF-8.
    """
    rows = [_row(picture) for picture in pictures]
    columns = dict.fromkeys(name for row in rows for name in row)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(map(_cell, columns))
    for row in rows:
        writer.writerow([_cell(row.get(name, "")) for name in columns])
    return _encoded("\ufeff" + table.getvalue())


def _row(picture: ExportedPicture) -> dict[str, Any]:
    about = picture.about
    shown = ("job", "index", "generation", "workflow_id", "width", "height", "sha256")
    return {
        "file": picture.file_name,
        "text": picture.text,
        **{name: about[name] for name in shown},
        **{f"axis.{name}": value for name, value in about["axes"].items()},
        **{f"row.{name}": value for name, value in about["row"].items()},
        **{f"param.{name}": value for name, value in about["params"].items()},
    }


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    is_formula = _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
    return f"'{text}" if is_formula else text

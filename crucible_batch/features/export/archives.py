"""Archives of an export. The same members give the same bytes, on every machine and day."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from crucible_batch.features.export.forms import ArchiveFile, PictureFile, TextFile
from crucible_batch.features.export.sources import HashedFile, PictureSources

_MODE = 0o644
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can have."""


def write_archive(archive: ArchiveFile, sources: PictureSources, target: BinaryIO) -> None:
    """Write an archive. Raises ``OSError``, and ``UserError`` if an output was changed."""
    write = _write_tar if archive.path.endswith(".tar") else _write_zip
    write(archive, sources, target)


def _write_tar(archive: ArchiveFile, sources: PictureSources, target: BinaryIO) -> None:
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, size, opened in _members(archive, sources):
            info = tarfile.TarInfo(path)
            info.size, info.mode = size, _MODE
            with opened as content:
                tar.addfile(info, content)


def _write_zip(archive: ArchiveFile, sources: PictureSources, target: BinaryIO) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as zipped:
        for path, size, opened in _members(archive, sources):
            info = zipfile.ZipInfo(path, _FIRST_DAY)
            info.file_size, info.external_attr = size, _MODE << 16
            info.create_system = 3  # Unix, whose modes these are
            with opened as content, zipped.open(info, "w") as member:
                shutil.copyfileobj(content, member)


def _members(
    archive: ArchiveFile, sources: PictureSources
) -> Iterator[tuple[str, int, AbstractContextManager[BinaryIO | HashedFile]]]:
    """Yield path, size and content of each member."""
    for member in archive.members:
        match member:
            case PictureFile(path, picture):
                yield path, picture.byte_size, sources.opened(picture)
            case TextFile(path, content):
                yield path, len(content), nullcontext(io.BytesIO(content))

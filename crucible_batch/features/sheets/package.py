"""A spreadsheet file: a ZIP archive of XML, which may come from anybody."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat

from crucible_batch.atomic_files import open_at_once

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_XML_BYTES = 256 * 1024 * 1024
_OLD_FORMAT = b"\xd0\xcf\x11\xe0"
"""The beginning of .xls files, and of .xlsx files with a password."""


class SheetFault(Exception):  # noqa: N818 - it becomes a RowFault
    """A spreadsheet that can't be used. The message is the reason, ``hint`` the remedy.

    ``key`` is the key of the manifest that it is about, if any.
    """

    def __init__(self, message: str, hint: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.key = key


LIBREOFFICE = "calcext"
_EXTENSION = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"
"""The namespace of LibreOffice's own attributes, whose names are also those of the standard."""
NOT_A_SPREADSHEET = "the file is damaged, or not a spreadsheet"
SAVE_AGAIN = "open it in the spreadsheet program, and save it again as .xlsx or .ods"


def read_parts(path: Path) -> Mapping[str, bytes]:
    """Return the XML parts of a spreadsheet by name, without its pictures.

    Raises ``SheetFault`` if it is too large or not a spreadsheet, and ``OSError``.
    """
    with open(path, "rb", opener=open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SheetFault("it is not a regular file")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise SheetFault(f"the file has more than {MAX_FILE_BYTES:,} bytes", _AS_CSV)
    if content.startswith(_OLD_FORMAT):
        raise SheetFault(
            "the file has a password, or the format of .xls",
            "save it without a password as .xlsx or .ods",
        )
    try:
        return _parts(content)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError):
        raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN) from None
    except RuntimeError:  # the archive itself has a password
        raise SheetFault("the file has a password", "save it without one") from None


_AS_CSV = "export the sheet as CSV (UTF-8)"


def _parts(content: bytes) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    left = MAX_XML_BYTES
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in set(archive.namelist()):
            if not name.endswith((".xml", ".rels")) and name != "mimetype":
                continue
            with archive.open(name) as part:
                parts[name] = part.read(left + 1)
            left -= len(parts[name])
            if left < 0:
                raise SheetFault(
                    f"the file has more than {MAX_XML_BYTES:,} bytes once unpacked", _AS_CSV
                )
    return parts


def packed(parts: Mapping[str, bytes]) -> io.BytesIO:
    """Return an archive of the parts, so that another reader sees those that were checked."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    file.seek(0)
    return file


def parse(
    content: bytes,
    start: Callable[[str, Mapping[str, str]], None],
    end: Callable[[str], None] = lambda _name: None,
    text: Callable[[str], None] = lambda _text: None,
) -> None:
    """Call ``start`` with each element's name and attributes, ``text`` with the characters in it,
    and ``end``. Names have no namespaces, except for LibreOffice's own.

    Raises ``SheetFault`` if it is not XML, or if it declares entities, which could make a small
    file large.
    """
    parser = expat.ParserCreate(namespace_separator=" ")

    def started(name: str, attributes: Mapping[str, str]) -> None:
        start(_local(name), {_local(key): value for key, value in attributes.items()})

    def declared(*_: object) -> None:
        raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN)

    parser.StartElementHandler = started
    parser.EndElementHandler = lambda name: end(_local(name))
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError):  # LookupError: an unknown encoding
        raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN) from None


def _local(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return f"{LIBREOFFICE}:{local}" if namespace == _EXTENSION else local

"""URLs of object stores: ``--out-dir s3://bucket/prefix``, ``gs://...`` or ``az://...``, and
``file:///shared/winter`` for a directory that is used as one.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePath

from crucible_batch.errors import UserError

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):(?:(?P<slashes>/+)(?P<rest>.*))?", re.DOTALL | re.IGNORECASE
)
_FILE = "file"
_SCHEMES = frozenset({"s3", "gs", "az", _FILE})
_OTHER_SCHEMES = frozenset({
    "s3a", "s3n", "gcs", "azure", "abfs", "abfss", "adl", "http", "https", "r2", "b2",
    "oss", "swift", "hdfs", "ftp", "ftps", "sftp", "scp", "ssh", "smb", "nfs",
})  # fmt: skip
_PATH = ""
"""In place of a scheme: a run directory that was given as a path."""
_LONGEST = 512
"""Bytes of a URL: a key has at most 1,024, and an output's path at most 255."""
_HINT = (
    "use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///ABSOLUTE/PATH; "
    "nothing was spent"
)


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """A run's place in an object store. ``prefix`` has no slash at its ends, and is not empty."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        if self.scheme == _PATH:
            return f"/{self.prefix}"
        return f"{self.scheme}://{self.bucket}/{self.prefix}"

    @classmethod
    def of_directory(cls, directory: Path) -> ObjectUrl:
        """Return the place of a directory whose files are used as objects. It isn't typed so."""
        return cls(_PATH, "", os.path.realpath(directory).lstrip("/"))

    @classmethod
    def at(cls, place: str | PurePath) -> ObjectUrl:
        """Return the URL in ``place``, or the place of the directory that it is the path of.

        ``str`` of the result is the same place. Raises ``UserError`` as ``parse`` does.
        """
        return cls.parse(place) or cls.of_directory(Path(place))

    @property
    def directory(self) -> Path | None:
        """The run directory, if it was given as a path; None for a URL."""
        return self.folder if self.scheme == _PATH else None

    @property
    def folder(self) -> Path | None:
        """The directory whose files are the objects, also at a URL; None in an object store."""
        return Path(f"/{self.prefix}") if self.scheme in {_PATH, _FILE} else None

    @property
    def digest(self) -> str:
        """20 hexadecimal digits that identify the place, for a file name.

        A directory has the same ones by whatever links it is reached.
        """
        place = str(self)
        if self.scheme == _FILE:
            place = f"{_FILE}://{os.path.realpath(f'/{self.prefix}')}"
        return hashlib.sha256(os.fsencode(place)).hexdigest()[:20]

    @classmethod
    def parse(cls, text: str | PurePath) -> ObjectUrl | None:
        """Return the URL in ``text``; None if it is a path in the file system.

        A ``Path`` made of a URL has lost one of its slashes, or all of ``s3://``, and is recognised
        too. Raises ``UserError`` for a URL that can't be used. The message doesn't contain the URL,
        which may have a password in it.
        """
        found = _URL.fullmatch(str(text))
        if found is None:
            return None
        scheme = found["scheme"].lower()
        if scheme not in _SCHEMES | _OTHER_SCHEMES:
            return None
        if scheme not in _SCHEMES:
            raise UserError(f"outputs can't be saved at {scheme}:// addresses", hint=_HINT)
        rest = found["rest"] or ""
        if scheme == _FILE:
            fault = _fault_of_path(found["slashes"], rest)
            bucket, prefix = "", rest.rstrip("/")
        else:
            fault = _fault(rest)
            bucket, _, prefix = rest.rstrip("/").partition("/")
        if fault is not None:
            raise UserError(f"the {scheme}:// address {fault}", hint=_HINT)
        return cls(scheme, bucket, prefix)


def _fault_of_path(slashes: str | None, rest: str) -> str | None:
    """Return why the path of a ``file:`` URL can't be used; None if it can."""
    if slashes == "//" or not rest:
        return "has no absolute path, which begins with a third slash"
    if any(mark in rest for mark in "?#%"):
        return "contains ?, # or %, which are not read as parts of a path"
    return _fault_of_parts(rest)


def _fault(rest: str) -> str | None:
    """Return why the part of a URL after its scheme can't be used; None if it can."""
    if any(mark in rest for mark in "@?#"):
        return (
            "contains @, ? or #; "
            "credentials are read from the environment, and no query is supported"
        )
    if "/" not in rest.rstrip("/"):
        return "has no prefix after the bucket"
    return _fault_of_parts(rest)


def _fault_of_parts(rest: str) -> str | None:
    parts = rest.rstrip("/").split("/")
    if any(unicodedata.category(character)[0] == "C" for character in rest):
        return "contains a control character"
    if len(rest.encode("utf-8", "replace")) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    if any(part in {"", ".", ".."} or "\\" in part for part in parts):
        return "has a part that is empty, . or .., or contains a backslash"
    return None

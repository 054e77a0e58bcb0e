"""URLs of object stores: ``--out-dir s3://bucket/prefix``, ``gs://...`` or ``az://...``."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePath

from crucible_batch.errors import UserError

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?:/+(?P<rest>.*))?", re.DOTALL | re.IGNORECASE)
_SCHEMES = frozenset({"s3", "gs", "az"})
_OTHER_SCHEMES = frozenset({
    "s3a", "s3n", "gcs", "azure", "abfs", "abfss", "adl", "http", "https", "file", "r2", "b2",
    "oss", "swift", "hdfs", "ftp", "ftps", "sftp", "scp", "ssh", "smb", "nfs",
})  # fmt: skip
_DIRECTORY = "file"
_LONGEST = 512
"""Bytes of a URL: a key has at most 1,024, and an output's path at most 255."""
_HINT = "use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX; nothing was spent"


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """A run's place in an object store. ``prefix`` has no slash at its ends, and is not empty."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        if self.scheme == _DIRECTORY:
            return f"/{self.prefix}"
        return f"{self.scheme}://{self.bucket}/{self.prefix}"

    @classmethod
    def of_directory(cls, directory: Path) -> ObjectUrl:
        """Return the place of a directory whose files are used as objects. It isn't typed so."""
        return cls(_DIRECTORY, "", os.path.realpath(directory).lstrip("/"))

    @classmethod
    def at(cls, place: str | PurePath) -> ObjectUrl:
        """Return the URL in ``place``, or the place of the directory that it is the path of.

        ``str`` of the result is the same place. Raises ``UserError`` as ``parse`` does.
        """
        return cls.parse(place) or cls.of_directory(Path(place))

    @property
    def directory(self) -> Path | None:
        """The directory whose files are the objects; None in an object store."""
        return Path(str(self)) if self.scheme == _DIRECTORY else None

    @property
    def digest(self) -> str:
        """20 hexadecimal digits that identify the URL, for a file name."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:20]

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
        fault = _fault(rest)
        if fault is not None:
            raise UserError(f"the {scheme}:// address {fault}", hint=_HINT)
        bucket, _, prefix = rest.rstrip("/").partition("/")
        return cls(scheme, bucket, prefix)


def _fault(rest: str) -> str | None:
    """Return why the part of a URL after its scheme can't be used; None if it can."""
    parts = rest.rstrip("/").split("/")
    if any(mark in rest for mark in "@?#"):
        return (
            "contains @, ? or #; "
            "credentials are read from the environment, and no query is supported"
        )
    if any(unicodedata.category(character)[0] == "C" for character in rest):
        return "contains a control character"
    if len(rest.encode("utf-8", "replace")) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    if len(parts) < 2:
        return "has no prefix after the bucket"
    if any(part in {"", ".", ".."} or "\\" in part for part in parts):
        return "has a part that is empty, . or .., or contains a backslash"
    return None

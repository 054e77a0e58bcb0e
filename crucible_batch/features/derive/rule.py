"""What is derived from an output, and where it is saved. Pure.

    file at the path             what happens to it
    none                         the derived one gets the name
    derived, up to date          stays
    derived from other bytes,    is removed, then made again
    or as another form
    any other                    stays; the output is not derived, which is noted

A derived file stands for an output that counts, by the digest of the bytes that the gateway sent.
Once another picture counts there, or none, it is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from crucible_batch.core.events import Saved
from crucible_batch.core.output_path import may_hold_output, output_path
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.provenance import XmpProperty
from crucible_batch.features.derive.manifest_keys import EXTENSIONS, Derive, Format
from crucible_batch.manifest import names

_EXT = "{ext}"
_MADE = 1
"""The version of what is made. A higher number makes all files again."""


@dataclass(frozen=True, slots=True)
class DerivedForm:
    """How a file is made of an output. ``properties`` are embedded in it."""

    format: Format
    quality: int
    max_edge: int | None
    properties: tuple[XmpProperty, ...] = ()
    version: int = _MADE

    @classmethod
    def of(cls, keys: Derive, properties: tuple[XmpProperty, ...]) -> DerivedForm:
        return cls(keys.format, keys.quality, keys.max_edge, properties)


@dataclass(frozen=True, slots=True)
class DerivedFile:
    """What a journal notes of a derived file, or of why there is none: ``error``.

    ``sent`` is the digest of its output as the gateway sent it. ``path`` is relative to the run
    directory; ``sha256`` and what follows are those of the file.
    """

    index: int
    sent: str
    path: str
    form: DerivedForm
    sha256: str = ""
    byte_size: int = 0
    width: int = 0
    height: int = 0
    error: str = field(default="")

    @property
    def may_be_ours(self) -> bool:
        """Whether such a file may be at its path. A journal may have been edited: another path may
        be another program's file."""
        suffix = PurePosixPath(self.path).suffix
        return not self.error and suffix in EXTENSIONS.values() and may_hold_output(self.path)


def sent_digest(saved: Saved) -> str:
    """Return the SHA-256 of an output as the gateway sent it."""
    return saved.sha256 if saved.sent is None else saved.sent.sha256


def path_of(keys: Derive, planned: PlannedJob, index: int) -> str:
    """Return where a form of an output is saved."""
    ext = EXTENSIONS[keys.format]
    if keys.path is not None:
        pattern = names.filled(keys.path, planned.workflow_id).replace("{name}", planned.name)
        return output_path(pattern, index, ext).as_posix()
    if planned.output.endswith(_EXT):
        return output_path(planned.output, index, ext).as_posix()
    return output_path(planned.output, index, "").with_suffix(ext).as_posix()


def is_current(known: DerivedFile, saved: Saved, form: DerivedForm) -> bool:
    """Whether a file needs not be made again, if it is there."""
    return not known.error and known.sent == sent_digest(saved) and known.form == form

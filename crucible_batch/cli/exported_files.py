"""Files for other schedulers: names and texts that they accept, and how the files are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crucible_batch.atomic_files import check_target, replacing
from crucible_batch.errors import UserError


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file to write. ``steps`` are the commands that install it."""

    name: str
    text: str
    steps: tuple[str, ...] = ()


def resource_name(name: str, longest: int, *, suffix: str = "") -> str:
    """Return a name that Kubernetes accepts (RFC 1123), which begins with ``crucible-batch-``.

    A changed name ends in a digest, to remain unique. ``suffix`` follows, and is part of the
    length.
    """
    longest -= len(suffix)
    plain = re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-") or "manifest"
    full = f"crucible-batch-{plain}"
    if plain == name and len(full) <= longest:
        return full + suffix
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{full[: longest - 9].rstrip('-')}-{digest}{suffix}"


def check_paths(paths: Sequence[str], what: str, refused: str = "") -> None:
    """Raise ``UserError`` for a path that can't be written in a file.

    Such a path has control characters, bytes that are not UTF-8, or one of ``refused``.
    """
    for path in paths:
        faults = [each for each in path if not each.isprintable() or each in refused]
        if faults:
            raise UserError(
                f"the path {path!r} contains {faults[0]!r}, which can't be written for {what}",
                hint="rename the file or folder",
            )


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def yaml_text(documents: Sequence[Any]) -> str:
    """Return documents as YAML 1.1, each after a line ``---`` if there is more than one."""
    return yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,  # innermost lists and mappings on one line
        explicit_start=len(documents) > 1,
        width=120,
        allow_unicode=True,
    )


def check_files(paths: Sequence[Path], marks: Sequence[str], *, force: bool) -> None:
    """Raise ``UserError`` if a file exists that was not exported: that begins with no mark."""
    begins = tuple(mark.encode() for mark in marks)

    def is_exported(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(max(map(len, begins))).startswith(begins)

    for path in paths:
        check_target(path, "an exported file", is_exported, force=force)


def write_files(
    files: Sequence[ExportedFile], folder: Path, marks: Sequence[str], *, force: bool
) -> list[Path]:
    """Write the files into a folder, which is created, and return their paths.

    Raises ``UserError``, before any is written, as ``check_files`` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file.name for file in files]
    check_files(paths, marks, force=force)
    for path, file in zip(paths, files, strict=True):
        with replacing(path) as target:
            target.write(file.text.encode())
    return paths

"""Folders of images, listed as the rows of a table for a manifest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.errors import ManifestError, Problem, UserError
from crucible_batch.manifest import MAX_JOBS, expand, load_manifest
from crucible_batch.manifest.names import folded, path_fault, safe


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image with the name of its job. ``path`` is relative to the manifest's folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The images of a folder. ``skipped`` has the names of the other files, each with the reason.

    ``leads_out`` is true if an image is not in the manifest's folder, so that a run needs ``--allow-outside``.
    """

    images: tuple[ListedImage, ...]
    skipped: tuple[tuple[str, str], ...]
    leads_out: bool


def list_images(folder: Path, directory: Path) -> ImageFolder:
    """List the images in ``folder`` for a manifest in ``directory``, which may be missing; subfolders are not searched.

    An image is recognised by its content. Names that begin with a dot are passed over. The names of the jobs are safe
    and differ from each other. Raises ``UserError`` if the folder can't be read, or has no images or too many.
    """
    home, source = os.path.realpath(directory), os.path.realpath(folder)
    images: list[ListedImage] = []
    skipped: list[tuple[str, str]] = []
    taken: set[str] = set()
    leads_out = False
    for name in _file_names(folder):
        full = os.path.join(source, name)  # noqa: PTH118 - relpath gives text
        path = os.path.relpath(full, home).replace(os.sep, "/")
        if (why := _unfit(full, path)) is not None:
            skipped.append((name, why))
            continue
        images.append(ListedImage(_name_of(name, taken), path))
        leads_out = leads_out or not os.path.realpath(full).startswith(home.rstrip(os.sep) + os.sep)
    if not images:
        found = f"; {skipped[0][0]!r} {skipped[0][1]}" if skipped else ""
        raise UserError(f"{folder} has no images{found}", hint="name a folder that directly contains images: --images")
    if len(images) > MAX_JOBS:
        raise UserError(f"{folder} has more than {MAX_JOBS:,} images", hint="divide them into several folders")
    return ImageFolder(tuple(images), tuple(skipped), leads_out)


def _file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, sorted by their bytes."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    except OSError as error:
        raise UserError(
            f"{folder} can't be read: {(error.strerror or str(error)).lower()}",
            hint="name a folder of images: --images",
        ) from error
    except ValueError:
        raise UserError("the path of the folder holds a NUL character", hint="name a folder of images") from None
    return sorted(names, key=os.fsencode)


def _unfit(full: str, path: str) -> str | None:
    """Return why a file can't be an input image; None if it can."""
    from crucible_batch.input_images import InputError, check_input  # noqa: PLC0415 - Pillow, only if it is needed

    if (fault := path_fault(path)) is not None:
        return f"has a path that {fault[0]}"
    try:
        check_input(Path(full))
    except InputError as error:
        return str(error)
    return None


def _name_of(file_name: str, taken: set[str]) -> str:
    """Return a safe name for the job of a file that differs from all in ``taken``, and add it to them."""
    stem = Path(file_name).stem.strip().replace("\\", "-") or "image"
    name, number = safe(stem), 1
    while folded(name) in taken:
        number += 1
        name = safe(f"{stem}-{number}")
    taken.add(folded(name))
    return name


def first_problem(manifest: Path, *, allow_outside: bool) -> Problem | None:
    """Return the first problem of a manifest and its jobs, without reading images; None if it is valid."""
    try:
        items = expand(load_manifest(manifest, allow_outside=allow_outside))
        return next((item for item in items if isinstance(item, Problem)), None)
    except ManifestError as error:
        return error.problems[0]

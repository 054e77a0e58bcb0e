"""Exports the outputs of a run into a directory, which follows the run each time it is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from crucible_batch.core.redaction import clean, listed
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.features.export.archives import write_archive
from crucible_batch.features.export.folder import (
    ExportFolder,
    ExportSubject,
    FileFate,
    made_by,
)
from crucible_batch.features.export.forms import (
    ArchiveFile,
    ExportFile,
    ExportForm,
    PictureFile,
    TextFile,
    files_of,
)
from crucible_batch.features.export.pictures import ExportedPicture, pictures_of
from crucible_batch.features.export.sources import PictureSources
from crucible_batch.journal import Journal
from crucible_batch.outputs import FileState, Folder, OutputStore
from crucible_batch.runs.object_runs import store_by
from crucible_batch.runs.run_journal import local_directory, newest_run, refuse_if_pruned

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class UnexportedOutput:
    """An output that was not exported, since its file is not as recorded in the journal."""

    job: str
    index: int
    path: str
    state: FileState


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export.

    ``pictures`` is the number of outputs that the directory has now. ``written``, ``kept`` and
    ``removed`` count files. ``changed`` are files that were changed since they were written, and
    are left as they are. ``missing`` are outputs without an intact file.
    """

    run_dir: Path
    directory: Path
    form: ExportForm
    pictures: int
    written: int
    kept: int
    removed: int
    changed: tuple[str, ...] = ()
    missing: tuple[UnexportedOutput, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all outputs were exported."""
        return not self.missing

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.OK if self.ok else ExitCode.SOME_FAILED


def export(
    run_dir: str | Path,
    to: str | Path,
    *,
    form: ExportForm | str,
    picked: bool = False,
    on_checked: Callable[[int], None] = lambda _count: None,
) -> ExportResult:
    """Export the outputs of a run into the directory ``to``, which is made if needed.

    ``form`` is "captions", "imagefolder", "webdataset", "csv" or "zip". Exported are the outputs
    that count of succeeded jobs, except rejected ones; with ``picked``, only picked ones. The same
    call again writes what is new, and removes what is no longer exported; other files are never
    overwritten. Pictures are hard links to the outputs where the file system permits it.
    ``on_checked`` is called with the number of outputs that were read so far.

    Raises ``UserError``, ``RunDirectoryError``, ``JournalError``, ``ObjectStoreError``, and
    ``OSError`` if the directory can't be written.
    """
    form, directory, target = _form(form), local_directory(run_dir), Path(to)
    refuse_if_pruned(directory)
    with Journal.read(directory) as journal:
        newest_run(journal)
        binding = journal.binding()
        store = store_by(journal, directory)
        pictures = list(pictures_of(journal, directory, picked=picked))
    _refuse_target(target, directory, store)
    if not pictures:
        raise _nothing(picked=picked)
    subject = ExportSubject(form.value, binding.manifest_name, binding.run_id, binding.gateway)
    sources = PictureSources(store)
    with ExportFolder.locked(target, subject) as folder:
        missing = tuple(_missing(pictures, sources, on_checked))
        result = ExportResult(Path(run_dir), target, form, 0, 0, 0, 0, missing=missing)
        return _follow(folder, sources, pictures, result)


def _follow(
    folder: ExportFolder,
    sources: PictureSources,
    pictures: Sequence[ExportedPicture],
    result: ExportResult,
) -> ExportResult:
    """Let the directory have what is to be exported, and return the result with its counts."""
    present = list(_present(folder, pictures, result))
    files = list(files_of(result.form, present)) if present else []
    fates = {file.path: folder.fate(file) for file in files}
    refused = [path for path, fate in fates.items() if fate is FileFate.REFUSED]
    if refused:
        raise _not_ours(result.directory, refused)
    wanted = [each for each in files if fates[each.path] in {FileFate.WRITTEN, FileFate.REPLACED}]
    changed = [path for path, fate in fates.items() if fate is FileFate.EDITED]
    if wanted:
        folder.announce(wanted)
    for file in wanted:
        folder.put(file, _maker(file, sources))
    others = folder.others({file.path for file in files_of(result.form, pictures)})
    left = [path for path in others if not folder.remove(path)]
    removed = len(others) - len(left)
    if wanted or removed:
        folder.settle()
    return replace(
        result,
        pictures=len(present),
        written=len(wanted),
        kept=len(files) - len(wanted),
        removed=removed,
        changed=(*changed, *left),
    )


def _present(
    folder: ExportFolder, pictures: Sequence[ExportedPicture], result: ExportResult
) -> Iterator[ExportedPicture]:
    """Yield the outputs with an intact file, and those that were exported before it was lost."""
    missing = {each.path for each in result.missing}
    exported = set[str]()
    if missing:
        for file in files_of(result.form, pictures):
            if isinstance(file, PictureFile) and folder.fate(file) in _THERE:
                exported.add(file.picture.path)
    for picture in pictures:
        if picture.path not in missing or picture.path in exported:
            yield picture


_THERE = frozenset({FileFate.KEPT, FileFate.EDITED})


def _maker(file: ExportFile, sources: PictureSources) -> Callable[[Folder, str], None]:
    """Return what makes a file of the export."""
    match file:
        case PictureFile(_, picture):
            return partial(sources.put, picture)
        case TextFile(_, content):
            return made_by(lambda target: target.write(content))
        case ArchiveFile():
            return made_by(partial(write_archive, file, sources))


def _missing(
    pictures: Sequence[ExportedPicture],
    sources: PictureSources,
    on_checked: Callable[[int], None],
) -> Iterator[UnexportedOutput]:
    """Read all outputs, and yield those without an intact file."""
    for number, picture in enumerate(pictures, 1):
        state = sources.state(picture)
        if state is not FileState.OK:
            about = picture.about
            yield UnexportedOutput(about["job"], about["index"], picture.path, state)
        on_checked(number)


# -- what is refused


def _form(text: str) -> ExportForm:
    try:
        return ExportForm(text)
    except ValueError:
        forms = ", ".join(ExportForm)
        raise UserError(f"{text!r} is not a form of export", hint=f"use one of {forms}") from None


def _refuse_target(target: Path, directory: Path, store: OutputStore) -> None:
    """Raise ``UserError`` if something else than a directory is at a path, or if that is, or is in,
    the directory of this or another run."""
    if os.path.lexists(target) and not target.is_dir():
        raise UserError(f"{target} is not a directory", hint="give a directory with -o")
    inside = [directory.resolve()]
    if store.url is not None and store.url.folder is not None:
        inside.append(store.url.folder.resolve())
    resolved = target.resolve()
    for each in (resolved, *resolved.parents):
        if each in inside or Journal.exists(each):
            raise UserError(
                f"{target} is in the run directory {each}, where only runs write",
                hint="give a directory outside of it with -o",
            )


def _nothing(*, picked: bool) -> UserError:
    if picked:
        return UserError(
            "no output that can be exported is picked",
            hint="leave out --picked, or pick some on the page of crucible-batch view --control",
        )
    return UserError(
        "no output can be exported: no job has succeeded, or all outputs are rejected",
        hint="crucible-batch status shows the state of the run",
    )


def _not_ours(directory: Path, paths: Sequence[str]) -> UserError:
    names = listed([clean(path, 200) for path in paths], _NAMES_SHOWN)
    return UserError(
        f"{directory} has files that an export of this run did not write, or that were changed"
        f" since: {names}; nothing was written",
        hint="move them away, or give another directory with -o",
    )

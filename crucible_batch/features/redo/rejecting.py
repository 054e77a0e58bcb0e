"""Rejects outputs of a run: writes the file of rejections that its next run reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.edited_files import EditedFile
from crucible_batch.errors import ManifestError, UserError
from crucible_batch.features.redo.manifest_keys import redo_keys
from crucible_batch.features.redo.rejections import (
    DIGITS,
    MAX_REJECTS_BYTES,
    REJECTS_FILE,
    Rejection,
    Rejections,
    parse_rejection,
    parse_rejections,
    read_rejections,
    reason_of_person,
)
from crucible_batch.features.redo.source import named_file
from crucible_batch.journal import Journal
from crucible_batch.manifest import load_manifest
from crucible_batch.manifest.source_map import nearest
from crucible_batch.report import JobRow, OutputRow, build_row
from crucible_batch.runs.decisions import decisions_of
from crucible_batch.runs.generations import generations_of
from crucible_batch.runs.reporting import journal_rows
from crucible_batch.runs.run_journal import local_directory, newest_run


@dataclass(frozen=True, slots=True)
class RejectsFile:
    """A file of rejections after a command, with the lines that were added and removed.

    ``kept`` are the outputs of the command that were rejected, or not rejected, before it.
    ``count`` is the number of all rejections in the file.
    """

    path: Path
    count: int
    added: tuple[Rejection, ...] = ()
    removed: tuple[Rejection, ...] = ()
    kept: tuple[str, ...] = ()


def reject(
    run_dir: str | Path,
    names: Sequence[str],
    *,
    reason: str = "",
    remove: bool = False,
    file: str | Path | None = None,
) -> RejectsFile:
    """Reject outputs of a run, or ``remove`` their rejections; return the changed file.

    A name is that of a job, for all of its outputs, or ``NAME/INDEX``. A reason replaces the one
    that an output has. ``file`` is the file of rejections if the run was given one. Nothing is
    written if one of the names is not valid.

    Raises ``UserError``, ``RunDirectoryError`` and ``JournalError``.
    """
    directory = local_directory(run_dir)
    path = rejects_file_of(run_dir) if file is None else Path(file)
    with Journal.read(directory) as journal:
        rows = {row.name: row for row in journal_rows(journal)}
    text = _read(path)
    if remove:
        return _without(path, text, names)
    wanted = [each for name in names for each in _rejected(rows, name, reason)]
    _remove_with_other_reasons(path, wanted)
    known = _known(_read(path))
    new = dict.fromkeys(each for each in wanted if (each.output, each.digits) not in known)
    old = [each.output for each in wanted if (each.output, each.digits) in known]
    _file(path).add([str(each) for each in new])
    return RejectsFile(path, len(_lines(_read(path))), added=tuple(new), kept=tuple(old))


def picked_outputs(run_dir: str | Path, path: Path) -> list[str]:
    """Return the outputs of a run that count, are picked for a later stage, and are rejected by
    this file.

    Its next run refuses them. Raises as ``reject``.
    """
    lines = read_rejections(path, str(path))
    if not lines:
        return []
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        is_picked = decisions_of(journal, directory).is_for_stage
        rejections = Rejections(lines, {planned.name for planned in journal.plan()})
        return [
            f"{row.name}/{output.index}"
            for row in _rows_named(journal, {line.name for line in lines})
            for output in row.outputs
            if rejections.rejects(row.name, output.index, _digest(output))
            and is_picked(row.name, output.index, _digest(output))
        ]


@dataclass(frozen=True, slots=True)
class OutputBytes:
    """An output of a run by its bytes.

    ``digits`` are the first of the SHA-256 of the file as the gateway sent it.
    """

    name: str
    index: int
    digits: str


def change_rejections(
    run_dir: Path, *, rejected: Mapping[OutputBytes, str], restored: Collection[OutputBytes]
) -> Collection[OutputBytes]:
    """Take rejections back, then reject outputs with reasons, also earlier takes, by their bytes.

    Returns those that are to be rejected and that the run doesn't have: they are left out. What is
    rejected already, or isn't, stays so: to change a reason, take the rejection back as well.
    Raises as ``reject``.
    """
    path = rejects_file_of(run_dir)
    with Journal.read(local_directory(run_dir)) as journal:
        names = {each.name for each in rejected}
        outputs = {
            (row.name, output.index, _digest(output)[:DIGITS]): output.generation
            for row in _rows_named(journal, names)
            for output in [*row.takes, *row.outputs]
        }
        of_plan = set[str]()
        if restored:
            of_plan = {planned.name for planned in journal.plan()}
    found = {each: outputs.get((each.name, each.index, each.digits)) for each in rejected}
    _restore(path, restored, of_plan)
    known = _known(_read(path))
    lines = [
        str(
            Rejection(
                each.name, each.index, generation, each.digits, reason_of_person(rejected[each])
            )
        )
        for each, generation in found.items()
        if generation is not None and (f"{each.name}/{each.index}", each.digits) not in known
    ]
    _file(path).add(lines)
    return [each for each, generation in found.items() if generation is None]


def _rows_named(journal: Journal, names: Collection[str]) -> Iterator[JobRow]:
    """Yield the rows of the jobs with these names."""
    if not names:
        return
    newest, generations = newest_run(journal), generations_of(journal)
    for planned in journal.plan():
        if planned.name in names:
            job = journal.job(planned, newest.terms.rule)
            yield build_row(planned, job, newest.stops, generations(planned))


def _restore(path: Path, outputs: Collection[OutputBytes], names: Set[str]) -> None:
    """Remove the lines about these outputs. Other lines are kept as they are.

    ``names`` are those of the plan's jobs: a line with another name is of a job that was renamed.
    """
    if not outputs:
        return
    own = {(each.name, each.index, each.digits) for each in outputs}
    renamed = {(each.index, each.digits) for each in outputs}

    def is_removed(line: Rejection) -> bool:
        digits = line.digits[:DIGITS]
        if line.name in names:
            return (line.name, line.index, digits) in own
        return (line.index, digits) in renamed

    _remove_lines(path, is_removed)


def _remove_lines(
    path: Path, is_removed: Callable[[Rejection], bool]
) -> tuple[str, tuple[Rejection, ...]]:
    """Remove rejections; return the new text and the removed ones. Other lines stay as they are.

    A line that is added at the same time, such as by a check of an active run, is not lost.
    """
    removed = list[Rejection]()

    def is_line_removed(number: int, line: str) -> bool:
        rejection = parse_rejection(line, number)
        if rejection is None or not is_removed(rejection):
            return False
        removed.append(rejection)
        return True

    _read(path)
    return _file(path).remove(is_line_removed), tuple(removed)


def add_rejection(path: Path, line: Rejection) -> None:
    """Add a line, unless the file has one about the same bytes; return when it is durable.

    Blocking. Raises ``UserError``.
    """
    if (line.output, line.digits) not in _known(_read(path)):
        _file(path).add([str(line)])


def _remove_with_other_reasons(path: Path, wanted: Sequence[Rejection]) -> None:
    reasons = {(each.output, each.digits): each.reason for each in wanted if each.reason}

    def is_removed(line: Rejection) -> bool:
        key = line.output, line.digits[:DIGITS]
        return key in reasons and line.reason != reasons[key]

    if reasons:
        _remove_lines(path, is_removed)


def _known(text: str) -> set[tuple[str, str]]:
    return {(line.output, line.digits[:DIGITS]) for line in _lines(text)}


def _without(path: Path, text: str, names: Sequence[str]) -> RejectsFile:
    """Remove the rejections of these jobs and outputs. Other lines are kept as they are."""
    found = {each for line in _lines(text) for each in (line.name, line.output)}
    for name in names:
        if name not in found:
            raise UserError(f"{name!r} is not rejected", hint=f"the rejections are in {path}")
    wanted = set(names)

    def is_removed(line: Rejection) -> bool:
        return bool(wanted & {line.name, line.output})

    after, removed = _remove_lines(path, is_removed)
    return RejectsFile(path, len(_lines(after)), removed=removed)


def _rejected(rows: dict[str, JobRow], text: str, reason: str) -> Iterator[Rejection]:
    """Yield the rejections of a job's outputs, by its name or ``NAME/INDEX``."""
    name, _, number = text.partition("/")
    row = rows.get(name)
    if row is None:
        near = nearest(name, rows)
        hint = "crucible-batch status lists the runs; the report of a run has its jobs"
        if near is not None:
            hint = f"did you mean {near!r}?"
        raise UserError(f"no job of this run is named {name!r}", hint=hint)
    outputs = [each for each in row.outputs if number in {"", str(each.index)}]
    if not outputs:
        had = ", ".join(str(each.index) for each in row.outputs)
        hint = "run the manifest again first"
        if had:
            hint = f"its outputs: {had}"
        elif row.takes:
            hint = "those that it had are rejected already; run the manifest again"
        raise UserError(f"{name} has no output {number}".rstrip(), hint=hint)
    for output in outputs:
        digits = _digest(output)[:DIGITS]
        words = reason_of_person(reason)
        yield Rejection(name, output.index, output.generation, digits, words)


def _digest(output: OutputRow) -> str:
    """Return the digest of an output as the gateway sent it."""
    return output.sha256 if output.sent is None else output.sent.sha256


# -- the file


def rejects_file_of(run_dir: str | Path) -> Path:
    """Return the file of rejections that the next run of a directory reads, which may not exist.

    A run directory may come from another person, so a file outside of it has to be in the
    manifest's folder, and one that the manifest names. Raises as ``reject``.
    """
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        path = Path(newest_run(journal).terms.manifest_path)
    try:
        manifest = load_manifest(path)
        named = redo_keys(manifest.header).rejects
        return directory / REJECTS_FILE if named is None else named_file(manifest, named)
    except ManifestError as error:
        raise UserError(
            f"the manifest of this run, {path}, can't be read from here",
            hint="change to the directory in which the run was started, or name the file of"
            " rejections with --file",
        ) from error


def _lines(text: str) -> list[Rejection]:
    return [rejection for _, rejection in parse_rejections(text) if rejection is not None]


def _file(path: Path) -> EditedFile:
    return EditedFile(path, "a file of rejections", MAX_REJECTS_BYTES)


def _read(path: Path) -> str:
    """Return the content of a file of rejections, empty if it is missing.

    Any other file is refused: nothing is added to it.
    """
    text = _file(path).text()
    wrong = next((number for number, line in parse_rejections(text) if line is None), None)
    if wrong is not None:
        raise UserError(
            f"{path}:{wrong} is not a rejection, so nothing was added to the file",
            hint="correct the line, or name another file with --file",
        )
    return text

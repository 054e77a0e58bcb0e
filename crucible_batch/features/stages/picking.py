"""The picks of a run: which outputs its next stage takes.

They are in the picks file that the manifest names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.edited_files import EditedFile
from crucible_batch.errors import ManifestError, UserError
from crucible_batch.features.stages.manifest_keys import stage_keys
from crucible_batch.features.stages.note import PickedStage, noted_stages
from crucible_batch.features.stages.picks import MAX_PICKS_BYTES, parse_pick, parse_picks, pick_text
from crucible_batch.journal import Journal
from crucible_batch.manifest import load_manifest
from crucible_batch.manifest.source_map import nearest
from crucible_batch.report import build_row
from crucible_batch.runs.generations import generations_of
from crucible_batch.runs.run_journal import local_directory, newest_run


@dataclass(frozen=True, slots=True)
class PicksFile:
    """A picks file of a run after a command, with the entries that were added and removed.

    ``stages`` are the names of the entries of the manifest that read it.
    """

    path: Path
    stages: tuple[str, ...]
    picks: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def pick(
    run_dir: str | Path,
    names: Sequence[str],
    *,
    remove: bool = False,
    file: str | Path | None = None,
) -> tuple[PicksFile, ...]:
    """Add names to the picks files of a run, or ``remove`` them; return the changed files.

    A name is that of a job, or ``NAME/INDEX`` for one of its outputs. To remove one output of a job
    of which all are picked leaves the others picked. ``file`` chooses the picks file if the
    manifest has several that may have a name. Nothing is written if one of the names is not valid.

    Raises ``UserError``, ``RunDirectoryError`` and ``JournalError``.
    """
    with Journal.read(local_directory(run_dir)) as journal:
        stages = _stages_of(journal)
        if file is not None:
            stages = _chosen(stages, file)
        wanted = dict.fromkeys(names)
        groups = _by_file(stages)
        if remove:
            return _without(journal, groups, wanted)
        assigned = _assigned(journal, groups, wanted)
    return tuple(_with(path, groups[path], entries) for path, entries in assigned.items())


# -- which names and files


def _stages_of(journal: Journal) -> list[PickedStage]:
    """Return the stages of the newest run that have a picks file which may be written.

    A run directory may come from another person, so the file has to be in the manifest's folder,
    and one that the manifest names. If that name is a template, the file has to be new, or to have
    only picks of this run.
    """
    terms = newest_run(journal).terms
    stages = noted_stages(journal)
    if not stages:
        raise UserError(
            "the manifest of this run has no entry with `pick`",
            hint="pick: picks.txt in an entry with `from` makes it wait for picks",
        )
    path = Path(terms.manifest_path)
    try:
        manifest = load_manifest(path)
    except ManifestError as error:
        raise UserError(
            f"the manifest of this run, {path}, can't be read from here",
            hint="change to the directory in which the run was started",
        ) from error
    named = [
        pick for pick in (stage_keys(entry.job).pick for entry in manifest.jobs) if pick is not None
    ]
    for stage in stages:
        is_named = any(_same(stage.file, manifest.directory / text) for text in named)
        is_safe = is_named or ("{{" in "".join(named) and _has_picks_only(stage, journal))
        if not (is_safe and _is_inside(stage.file, manifest.directory)):
            raise UserError(
                f"{stage.file} is not the picks file of the manifest {path}, or not in its folder",
                hint="run the manifest again; or edit the file by hand",
            )
    return stages


def _same(file: Path, other: Path) -> bool:
    return os.path.abspath(file) == os.path.abspath(other)  # noqa: PTH100 - links are not followed


def _is_inside(file: Path, directory: Path) -> bool:
    return os.path.realpath(file).startswith(os.path.realpath(directory).rstrip(os.sep) + os.sep)


def _has_picks_only(stage: PickedStage, journal: Journal) -> bool:
    """Whether a file is new, or all of its lines are names that may be picked."""
    known = {planned.name for planned in stage.candidates(journal.plan())}
    return all(name in known for name, _ in parse_picks(_file(stage.file).text()).lines)


def _by_file(stages: Sequence[PickedStage]) -> dict[Path, list[PickedStage]]:
    found: dict[Path, list[PickedStage]] = {}
    for stage in stages:
        found.setdefault(stage.file, []).append(stage)
    return found


def _chosen(stages: Sequence[PickedStage], file: str | Path) -> list[PickedStage]:
    found = [
        stage
        for stage in stages
        if str(file) == stage.pick or os.path.realpath(file) == str(stage.file)
    ]
    if not found:
        known = ", ".join(sorted({stage.pick for stage in stages}))
        raise UserError(f"{file} is not a picks file of this run", hint=f"its picks files: {known}")
    return found


def _assigned(
    journal: Journal, groups: Mapping[Path, Sequence[PickedStage]], wanted: Mapping[str, None]
) -> dict[Path, list[str]]:
    """Return the names for each file. ``groups`` are the stages by their files.

    Raises ``UserError`` for a name that no stage takes, and if several files do.
    """
    candidates = {
        path: {
            planned.name: planned for stage in group for planned in stage.candidates(journal.plan())
        }
        for path, group in groups.items()
    }
    plans: dict[Path, list[str]] = {}
    for text in wanted:
        name, index = parse_pick(text)
        paths = [path for path, known in candidates.items() if name in known]
        if not paths:
            known = list(dict.fromkeys(each for names in candidates.values() for each in names))
            near = nearest(name, known)
            hint = "no job that may be picked is in the run's plan"
            if near is not None:
                hint = f"did you mean {near!r}?"
            elif known:
                hint = f"there is {known[0]!r}"
            raise UserError(f"no job that may be picked is named {name!r}", hint=hint)
        if len(paths) > 1:
            files = ", ".join(path.name for path in paths)
            raise UserError(
                f"{name!r} may be picked in several files: {files}",
                hint=f"choose one: --file {paths[0].name}",
            )
        outputs = journal.job(candidates[paths[0]][name], RetryRule()).outputs
        if index is not None and outputs and index not in outputs:
            raise UserError(
                f"{name} has no output {index}",
                hint=f"its outputs: {', '.join(map(str, sorted(outputs)))}",
            )
        plans.setdefault(paths[0], []).append(pick_text(name, index))
    return plans


# -- the file


def _file(path: Path) -> EditedFile:
    return EditedFile(path, "a picks file", MAX_PICKS_BYTES)


def _entries(text: str) -> tuple[str, ...]:
    return tuple(pick_text(name, index) for name, index in parse_picks(text).lines)


def _changed(
    path: Path,
    stages: Sequence[PickedStage],
    text: str,
    *,
    added: Sequence[str] = (),
    removed: Sequence[str] = (),
) -> PicksFile:
    """Return a file with the text that it has after a change."""
    names = tuple(stage.name for stage in stages)
    return PicksFile(path, names, _entries(text), tuple(added), tuple(removed))


def _with(path: Path, stages: Sequence[PickedStage], wanted: Sequence[str]) -> PicksFile:
    """Add entries to a file, unless it has them."""
    file = _file(path)
    text = file.text()
    before = _entries(text)
    added = [entry for entry in wanted if entry not in before]
    file.add(added)
    return _changed(path, stages, "\n".join([text, *added]), added=added)


def _without(
    journal: Journal, groups: Mapping[Path, Sequence[PickedStage]], wanted: Collection[str]
) -> tuple[PicksFile, ...]:
    """Remove entries from the files. Raises ``UserError`` for a name that no file picks."""
    before = {path: _entries(_file(path).text()) for path in groups}
    found = {entry for entries in before.values() for entry in entries}
    for name in wanted:
        if not found & {name, parse_pick(name)[0]}:
            raise UserError(
                f"{name!r} is not picked", hint=f"the picks are in {', '.join(map(str, groups))}"
            )
    changed = []
    for path, stages in groups.items():
        others = _others_of_jobs(journal, stages, before[path], wanted)
        file = _file(path)
        file.add([entry for entries in others.values() for entry in entries])
        gone = [entry for entry in before[path] if entry in wanted or entry in others]
        left = _removed(file, gone)
        changed.append(_changed(path, stages, left, removed=gone))
    return tuple(changed)


def _removed(file: EditedFile, entries: Collection[str]) -> str:
    return file.remove(lambda _, line: line.strip() in entries)


def _others_of_jobs(
    journal: Journal,
    stages: Sequence[PickedStage],
    entries: Collection[str],
    removed: Collection[str],
) -> dict[str, list[str]]:
    """Return the entries of jobs of which single outputs are ``removed``, each with what replaces
    it: an entry for each other output of the job, unless there is one.
    """
    others: dict[str, list[str]] = {}
    for name, index in map(parse_pick, removed):
        if index is None or name not in entries or name in removed:
            continue
        known = {*removed, *entries}
        each = [pick_text(name, number) for number in _outputs_of(journal, stages, name)]
        others[name] = [text for text in each if text not in known]
    return others


def _outputs_of(journal: Journal, stages: Sequence[PickedStage], name: str) -> list[int]:
    """Return the numbers of the outputs of a job that may be picked."""
    newest, generations = newest_run(journal), generations_of(journal)
    for stage in stages:
        for planned in stage.candidates(journal.plan()):
            if planned.name == name:
                job = journal.job(planned, newest.terms.rule)
                row = build_row(planned, job, newest.stops, generations(planned))
                return sorted(output.index for output in row.outputs)
    return []

"""Earlier runs of a manifest in other directories: a run elsewhere would buy their jobs again.

The default directory of a run is relative to the working directory, so the same command in another
folder begins a new run. Before it does, earlier run directories are looked for:

    where                                         is of the same manifest if
    the user's list of runs                       the list has the manifest's path
    outputs/NAME/RUN_ID in the manifest's folder  a run there was given a path that leads to the
    and in each folder above it                   manifest

What is found there decides:

    same name, run id and gateway    something bought    key     then
    no                               -                   -       not mentioned
    yes                              no                  -       not mentioned
    yes                              shards, not merged  same    refused
    yes                              shards, not merged  other   mentioned
    yes                              yes                 same    refused
    yes                              yes                 other   mentioned

The user's list is only a help: it may be deleted at any time, and one that can't be read or written
counts as empty.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from crucible_batch.atomic_files import replacing
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.events import Accepted
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import CrucibleBatchError, EarlierRunError
from crucible_batch.journal import Binding, Journal
from crucible_batch.runs.account import is_of_key
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import OpenedRun, RunPart
from crucible_batch.runs.paths import relative_to_here
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.shard_notes import outstanding_shards
from crucible_batch.settings import Settings, state_directory
from crucible_batch.shell_command import DEFAULT_DIRECTORY

logger = logging.getLogger(__name__)

MOST_ENTRIES = 500
MOST_FAILED = 100
"""Entries of runs that did not start.

They are counted apart: they must not displace those that have bought.
"""
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run directory of the same manifest, run id and gateway in which something was bought.

    ``jobs`` is the number of submits that the gateway accepted. ``is_same_key`` is false if another
    key bought them, or an unknown one. ``has_shards``: its plan was divided, and its shards may
    have bought jobs that are not merged yet.
    """

    directory: Path
    jobs: int
    spent: Credits
    is_same_key: bool
    has_shards: bool

    def describe(self) -> str:
        if self.has_shards:
            return f"{self.directory}, whose plan was divided into shards that are not merged yet"
        jobs = "1 job" if self.jobs == 1 else f"{self.jobs:,} jobs"
        return f"{self.directory}, which bought {jobs} for {format_credits(self.spent)} credits"


class EarlierRunsPart(RunPart, PlanPart):
    """Refuses to begin a run that is in another directory, and lists those that began."""

    _earlier: EarlierRun | None = None

    def check(self, run: RunContext) -> None:
        if run.request.out_dir is None and not run.directory.exists():
            refuse_if_run_elsewhere(
                run.directory, run.manifest.path, run.binding, run.settings.api_key
            )

    def opened(self, run: OpenedRun) -> None:
        context = run.context
        remember_run(context.manifest.path, context.terms.run_id, context.directory)

    def notes(self, plan: ReadPlan) -> Iterator[str]:
        if plan.request.out_dir is None:
            basis, key = plan.basis, plan.settings.api_key
            self._earlier = find_earlier_run(plan.directory, basis.source.path, basis.binding, key)
        if self._earlier is not None:
            yield (
                f"an earlier run of this manifest is in {self._earlier.describe()}; "
                f"this plan is for a new run in {plan.directory}. To continue the earlier one, "
                f"add: --out-dir {shlex.quote(str(self._earlier.directory))}"
            )

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        if self._earlier is None:
            return summary
        return replace(summary, earlier_dir=self._earlier.directory)


def refuse_if_run_elsewhere(
    directory: Path, manifest: Path, binding: Binding, key: str | None
) -> None:
    """Raise ``EarlierRunError`` if the manifest was run before in another directory; log it if by
    another key.

    ``directory`` is where the run would begin.
    """
    earlier = find_earlier_run(directory, manifest, binding, key)
    if earlier is None:
        return
    if earlier.is_same_key:
        raise EarlierRunError(earlier.directory, directory, clean(earlier.describe(), 4000))
    logger.warning(
        "this manifest was run before with another key in %s; this run begins a new one in %s",
        clean(earlier.describe(), 4000),
        clean_path(directory),
    )


def find_earlier_run(
    directory: Path, manifest: Path, binding: Binding, key: str | None
) -> EarlierRun | None:
    """Return the earlier run of a manifest if ``directory`` is missing and there is one elsewhere;
    otherwise None."""
    if key is None or directory.exists():
        return None
    for candidate, is_same_manifest in _candidates(manifest, binding):
        if os.path.realpath(candidate) != os.path.realpath(directory):
            found = _examined(candidate, manifest, binding, key, is_same_manifest=is_same_manifest)
            if found is not None:
                return found
    return None


def _candidates(manifest: Path, binding: Binding) -> Iterator[tuple[Path, bool]]:
    """Yield directories that may be of an earlier run, and whether they are known to be of this
    manifest file."""
    for path in recall(list_file(os.environ), manifest, binding.run_id):
        yield path, True
    folder = Path(os.path.realpath(manifest)).parent
    for base in (folder, *folder.parents):
        yield base / DEFAULT_DIRECTORY / binding.manifest_name / binding.run_id, False


def _examined(
    directory: Path, manifest: Path, binding: Binding, key: str, *, is_same_manifest: bool
) -> EarlierRun | None:
    """Return the earlier run in a directory; None if it is another manifest's, bought nothing, or
    can't be read."""
    try:
        if not Journal.exists(directory):
            return None
        with Journal.read(directory) as journal:
            has_shards = outstanding_shards(journal) is not None
            # Before the merge, no run in the directory names the manifest.
            is_same_manifest = (
                is_same_manifest or has_shards or _has_run(journal, directory, manifest)
            )
            if journal.binding() != binding or not is_same_manifest:
                return None
            jobs, ledger = 0, Ledger()
            for subject, event in journal.events():
                ledger.apply(subject, event)
                jobs += isinstance(event, Accepted)
            fingerprint = journal.remembered_key()
    except (CrucibleBatchError, OSError, ValueError):
        return None
    if not (jobs or ledger.spent or ledger.holds() or has_shards):
        return None
    is_same_key = fingerprint is not None and is_of_key(fingerprint, key)
    return EarlierRun(relative_to_here(directory), jobs, ledger.spent, is_same_key, has_shards)


def _has_run(journal: Journal, directory: Path, manifest: Path) -> bool:
    """Return whether a run in ``outputs/NAME/RUN_ID`` was of this manifest: its path is relative to
    ``outputs/..``.
    """
    base = directory.parents[2]
    real = os.path.realpath(manifest)
    return any(os.path.realpath(base / run.terms.manifest_path) == real for run in journal.runs())


# -- the list


@dataclass(frozen=True, slots=True)
class RememberedRun:
    """A run's manifest and directory, as absolute paths with links resolved.

    The rest is of a run that did not start (``failed_starts.py``): ``code`` is the reason,
    ``run_id`` is empty if it was not known, and ``run_dir`` may not exist.
    """

    manifest: str
    run_id: str
    run_dir: str
    code: str = ""
    message: str = ""
    hint: str = ""
    at: str = ""
    scheduled_at: str = ""
    name: str = ""
    options: str = ""
    plan: str = ""

    @classmethod
    def of(cls, manifest: Path, run_id: str, run_dir: Path) -> RememberedRun:
        return cls(os.path.realpath(manifest), run_id, os.path.realpath(run_dir))


def list_file(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the list; None if the environment names no home directory."""
    directory = state_directory(environ)
    if directory is None:
        return None
    return directory / "runs.json"


def remember_run(manifest: Path, run_id: str, run_dir: Path) -> None:
    """Put a run at the head of the user's list."""
    remember(list_file(os.environ), RememberedRun.of(manifest, run_id, run_dir))


def remember(file: Path | None, run: RememberedRun) -> None:
    """Put a run at the head of the list. Two runs that do so at the same moment may lose one entry.

    It replaces the entry of the same run that did not start before.
    """
    if file is None:
        return
    known = list(remembered(file))
    others = [
        entry for entry in known if entry != run and not (entry.code and _is_same_run(entry, run))
    ]
    started = [entry for entry in (run, *others) if not entry.code][:MOST_ENTRIES]
    failed = [entry for entry in (run, *others) if entry.code][:MOST_FAILED]
    if known == [*started, *failed]:
        return
    content = [
        {name: text for name, text in asdict(entry).items() if text}
        for entry in (*started, *failed)
    ]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file, synced=False) as target:
            target.write(json.dumps(content, indent=0).encode())
    except OSError:
        return


def _is_same_run(failed: RememberedRun, run: RememberedRun) -> bool:
    return failed.manifest == run.manifest and failed.run_id in {run.run_id, ""}


def recall(file: Path | None, manifest: Path, run_id: str) -> Iterator[Path]:
    """Yield the directories of runs of this manifest file and run id, newest first."""
    real = os.path.realpath(manifest)
    for entry in remembered(file):
        if (entry.manifest, entry.run_id) == (real, run_id) and not entry.code:
            yield Path(entry.run_dir)


def remembered(file: Path | None) -> Iterator[RememberedRun]:
    """Yield the entries of the list: runs that have begun, then those that did not start, the
    newest of each first.
    """
    try:
        if file is None or not file.is_file():
            return
        with file.open("rb") as source:
            found = json.loads(source.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(found, list):
        return
    for entry in found:
        if not isinstance(entry, dict):
            continue
        if all(isinstance(each, str) and _is_path(each) for each in entry.values()):
            with contextlib.suppress(TypeError):  # other names
                yield RememberedRun(**{"run_id": "", **entry})


def _is_path(text: str) -> bool:
    """Return whether a text can be the name of a file: functions of ``os`` raise ``ValueError`` for
    any other.
    """
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False

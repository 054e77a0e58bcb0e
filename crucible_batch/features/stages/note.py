"""The entries of a manifest with stages, and its stages with picks files, as a run has noted them
in its journal.

``status``, the report and ``pick`` read them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Journal

_NAME = "stages"
_ENTRIES = "entries"


@dataclass(frozen=True, slots=True)
class PickedStage:
    """An entry with ``from`` and ``pick``.

    ``sources`` is the pattern, ``before`` the number of the plan's jobs above. ``pick`` is the path
    of the picks file as in the manifest, ``file`` the absolute one.
    """

    name: str
    sources: str
    pick: str
    file: Path
    before: int
    is_waiting: bool

    def candidates(self, plan: Iterable[PlannedJob]) -> Iterator[PlannedJob]:
        """Yield the jobs that may be named in the picks file.

        ``plan`` is the journal's, in its order.
        """
        for planned in plan:
            if planned.position >= self.before:
                return
            if planned.obstacle is None and fnmatch.fnmatchcase(planned.name, self.sources):
                yield planned


_STAGES: TypeAdapter[list[PickedStage]] = TypeAdapter(list[PickedStage])


@dataclass(frozen=True, slots=True)
class NotedEntry:
    """An entry of a manifest with stages.

    ``before`` is the number of the plan's jobs above, ``sources`` the pattern of its ``from``, None
    without one.
    """

    name: str
    before: int
    sources: str | None


_NOTED_ENTRIES: TypeAdapter[list[NotedEntry]] = TypeAdapter(list[NotedEntry])


def note_stages(journal: Journal, stages: list[PickedStage]) -> None:
    """Store the stages in the journal, in place of those noted before."""
    if stages or journal.noted(_NAME):
        journal.note(_NAME, _STAGES.dump_json(stages).decode())


def noted_stages(journal: Journal) -> list[PickedStage]:
    """Return the stages that the newest run noted."""
    try:
        return _STAGES.validate_json(journal.noted(_NAME) or "[]")
    except ValidationError:
        return []


def note_entries(journal: Journal, entries: list[NotedEntry]) -> None:
    """Store the entries in the journal, in place of those noted before."""
    journal.note(_ENTRIES, _NOTED_ENTRIES.dump_json(entries).decode())


def noted_entries(journal: Journal) -> list[NotedEntry]:
    """Return the entries that the newest run with stages noted."""
    try:
        return _NOTED_ENTRIES.validate_json(journal.noted(_ENTRIES) or "[]")
    except ValidationError:
        return []

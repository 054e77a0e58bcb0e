"""What people have decided about the outputs of a run, beside its journal: which are picked, and
which rejected.

Features have the files of it, in modules ``decisions.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.features import found
from crucible_batch.journal import Journal

IsOf = Callable[[str, int, str], bool]
"""Called with the name of a job, the number of an output, and its SHA-256 as the gateway sent it.
"""


def _of_none(_name: str, _index: int, _sha256: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Decisions:
    """Which outputs are picked, and which are rejected, by one feature.

    ``is_for_stage``: a picked one is a source of a later stage.
    """

    is_picked: IsOf = _of_none
    is_rejected: IsOf = _of_none
    is_for_stage: IsOf = _of_none


def decisions_of(journal: Journal, directory: Path) -> Decisions:
    """Return the decisions about a run as they are now; those of a rejection that its next run will
    read as well.

    Raises ``UserError``, also as ``ManifestError``, for a file that is invalid or can't be read.
    """
    every: list[Decisions] = [each.decisions(journal, directory) for each in found("decisions")]

    def is_picked(name: str, index: int, sha256: str) -> bool:
        return any(each.is_picked(name, index, sha256) for each in every)

    def is_rejected(name: str, index: int, sha256: str) -> bool:
        return any(each.is_rejected(name, index, sha256) for each in every)

    def is_for_stage(name: str, index: int, sha256: str) -> bool:
        return any(each.is_for_stage(name, index, sha256) for each in every)

    return Decisions(is_picked, is_rejected, is_for_stage)

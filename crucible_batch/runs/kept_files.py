"""Files that features make from outputs and keep beside them: ``check`` compares them, and
``prune`` deletes them.

They are found by the modules ``kept_files`` of features.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.features import found
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore

MadeAgain = tuple[str | None, ErrorInfo | None]
"""Where the file is now that was at the path, if any; and why none was made."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that was made from the output ``index`` of the job ``name``.

    ``retired``: the job is no longer in the plan. ``path`` is relative to the run directory.
    ``make_again`` makes it at no cost, and without the gateway; the lock of the directory must be
    held. It raises ``JournalError``.
    """

    name: str
    retired: bool
    index: int
    path: str
    sha256: str
    byte_size: int
    make_again: Callable[[Journal, OutputStore], Awaitable[MadeAgain]]


def kept_files(journal: Journal) -> Iterator[KeptFile]:
    """Yield the files that features keep in a run directory, by its journal."""
    for module in found("kept_files"):
        yield from module.kept(journal)

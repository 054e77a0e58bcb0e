"""What keeps an output from being saved: something about it, or the disk."""

from __future__ import annotations

from typing import Final

from crucible_batch.errors import CrucibleBatchError

MOVE_IT: Final = "move it away and run the same command again: the picture is paid for, and fetched for no credits"


class OutputError(Exception):
    """An output that wasn't saved.

    ``final`` tells that a fresh link wouldn't help. ``definite`` tells that nothing was cut or garbled on the way: what
    came is what there is, and only another link may lead to something else.
    """

    def __init__(self, code: str, message: str, *, final: bool = False, definite: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final
        self.definite = definite


class ResultsError(CrucibleBatchError):
    """The run directory can't be written; what was journalled is intact."""

    code = "RESULTS"

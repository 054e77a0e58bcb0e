"""Errors that prevent an output from being saved: a fault of the output or of the disk."""

from __future__ import annotations

from typing import Final

from crucible_batch.errors import CrucibleBatchError

MOVE_IT: Final = "move it and run the same command again; the output is paid for, and is downloaded at no cost"


class OutputError(Exception):
    """An output that wasn't saved.

    ``final`` is True if a new link wouldn't help. ``definite`` is True if the bytes weren't cut or damaged in transfer:
    the same link gives the same bytes, and only a new link may give others.
    """

    def __init__(self, code: str, message: str, *, final: bool = False, definite: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final
        self.definite = definite


class ResultsError(CrucibleBatchError):
    """The run directory can't be written; the journal is intact."""

    code = "RESULTS"

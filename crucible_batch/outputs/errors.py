"""Errors that prevent an output from being saved: of the output, the disk or the object store."""

from __future__ import annotations

from crucible_batch.errors import CrucibleBatchError, ObjectStoreError

MOVE_IT = (
    "move it and run the same command again; the output is paid for, and is downloaded at no cost"
)


class OutputError(Exception):
    """An output that wasn't saved.

    ``final`` is True if a new link wouldn't help. ``definite`` is True if the bytes weren't cut or
    damaged in transfer: the same link gives the same bytes, and only a new link may give others.
    """

    def __init__(
        self, code: str, message: str, *, final: bool = False, definite: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final
        self.definite = definite


def misplaced(path: str) -> OutputError:
    return OutputError(
        "OUTPUT_MISPLACED",
        f"{path} is not allowed as the path of an output; the journal was edited",
        final=True,
    )


def taken(path: object, what: str = "file") -> OutputError:
    """Return the error for an output whose name something else has."""
    return OutputError("OUTPUT_EXISTS", f"another {what} exists at {path}; {MOVE_IT}", final=True)


def too_large(max_bytes: int) -> OutputError:
    return OutputError("OUTPUT_TOO_LARGE", f"larger than {max_bytes} bytes", definite=True)


class ResultsError(CrucibleBatchError):
    """The run directory can't be written; the journal is intact."""

    code = "RESULTS"


class DamagedUploadError(ObjectStoreError):
    """The store has, or received, other bytes than were sent. No object has the name."""

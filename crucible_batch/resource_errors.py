"""The lack of memory or of threads: exceptions that are neither a bug nor the user's mistake."""

from __future__ import annotations

from crucible_batch.errors import CrucibleBatchError


class ResourceError(CrucibleBatchError):
    """The machine has not enough memory, or starts no more threads."""

    code = "OUT_OF_RESOURCES"


def resource_error(error: BaseException) -> ResourceError | None:
    """Return what an exception, or one in its group, shows the machine to lack; None for any other
    exception."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(resource_error, error.exceptions)), None)
    if isinstance(error, MemoryError):
        return ResourceError(
            "there is not enough memory",
            hint=(
                "end other programs, raise the limit of memory (ulimit -v, or that of the"
                " container), or lower --concurrency; then run the same command again"
            ),
        )
    if isinstance(error, RuntimeError) and str(error).startswith("can't start new thread"):
        return ResourceError(
            "no thread can be started",
            hint=(
                "raise the limit of processes (ulimit -u, or TasksMax of the unit) or of memory;"
                " then run the same command again"
            ),
        )
    return None

"""What a run ends with that raises an exception."""

from __future__ import annotations

import asyncio

from crucible_batch.error_codes import BUG_EXIT_CODE
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.resource_errors import resource_error


def failure_of(error: BaseException) -> tuple[str, int]:
    """Return the error code and the exit code of a command that ends with this exception."""
    match error:
        case CrucibleBatchError():
            return error.code, int(error.exit_code)
        case OSError():
            return "DISK", int(ExitCode.STOPPED)
        case KeyboardInterrupt():
            return "INTERRUPTED", int(ExitCode.SIGINT)
        case asyncio.CancelledError(
            args=(ExitCode() as exit_code, *_)
        ):  # the signal for which it was cancelled
            return "INTERRUPTED", int(exit_code)
        case asyncio.CancelledError() | SystemExit():
            return "INTERRUPTED", int(ExitCode.SIGTERM)
        case _:
            lack = resource_error(error)
            if lack is None:
                return "BUG", BUG_EXIT_CODE
            return lack.code, int(lack.exit_code)

"""Arguments of an API call that no run can be held to: refused by their names, before anything happens."""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.core.credits import Credits, parse_credits
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.manifest import path_fault
from crucible_batch.results import MOST_PIXELS

MAX_RUN_DIRECTORY_BYTES = 470
"""SQLite opens no file whose absolute path has more than 512 bytes; the journal's own names take up to 35 of them."""


def check_path(what: str, path: Path | None) -> None:
    """Refuse a path that the journal, the report or the file system can't take. Raises ``UserError``."""
    fault = None if path is None else path_fault(str(path))
    if fault is not None:
        raise UserError(f"{what} {str(path)[:300]!r} {fault[0]}", hint=f"{fault[1]}; nothing was spent")


def check_run_directory(directory: Path) -> None:
    """Refuse a run directory that can't be used, or in which no journal could be kept. Raises ``UserError``."""
    check_path("the run directory", directory)
    if len(os.fsencode(os.path.realpath(directory))) > MAX_RUN_DIRECTORY_BYTES:
        raise RunDirectoryError(
            f"the run directory's absolute path is longer than {MAX_RUN_DIRECTORY_BYTES} bytes, and SQLite can't open"
            " a journal there",
            hint="name a shorter one with --out-dir; nothing was spent",
        )


def read_budget(budget: Credits | int | str | None) -> Credits | None:
    """Return the budget as an exact amount. Raises ``UserError``."""
    try:
        return None if budget is None else parse_credits(budget)
    except ValueError as error:
        raise UserError(f"budget: {error}", hint="give a Decimal, a whole number or text such as '12.5'") from None


def check_limits(*, max_output_bytes: int, max_pixels: int) -> None:
    """Refuse limits that no output could keep, or that can't be held. Raises ``UserError``."""
    faults = []
    if not max_output_bytes >= 1:
        faults.append(f"max_output_bytes must be at least 1, not {max_output_bytes!r}")
    if not 1 <= max_pixels <= MOST_PIXELS:
        faults.append(f"max_pixels must be from 1 to {MOST_PIXELS:,}, the most that Pillow reads, not {max_pixels!r}")
    if faults:
        raise UserError("; ".join(faults), hint="nothing was begun; correct the call")


def check_pace(
    *,
    concurrency: int | None,
    polls_per_s: float | None,
    job_timeout_s: float,
    deadline_s: float | None,
    key_ttl_s: float,
) -> None:
    """Refuse what would let a run do nothing. Raises ``UserError``, which names each argument that does."""
    faults = []
    # Written so that NaN, which compares with nothing, is refused too.
    if concurrency is not None and not concurrency >= 1:
        faults.append(f"concurrency must be at least 1, or None, not {concurrency!r}")
    if polls_per_s is not None and not polls_per_s > 0:
        faults.append(f"polls_per_s must be more than 0, or None, not {polls_per_s!r}")
    if not job_timeout_s > 0:
        faults.append(f"job_timeout_s must be more than 0, not {job_timeout_s!r}")
    if deadline_s is not None and not deadline_s > 0:
        faults.append(f"deadline_s must be more than 0, or None, not {deadline_s!r}")
    if not key_ttl_s >= 0:
        faults.append(f"key_ttl_s must be 0 or more, not {key_ttl_s!r}")
    if faults:
        raise UserError("; ".join(faults), hint="nothing was begun; correct the call")

"""A job's own record at the gateway, beside the answer to its submit: both name a price, and they may differ."""

from __future__ import annotations

from crucible_batch.core.credits import Credits
from crucible_batch.core.job import Attempt


def record_differs(attempt: Attempt, record: Credits, *, is_final: bool) -> bool:
    """Whether a job's record names a price that isn't in the books yet.

    A lower one counts only where it ``is_final``: that of a job which has succeeded. Until then it may be filled in
    late, and what failed costs nothing.
    """
    return record > attempt.credits or (is_final and record < attempt.credits and attempt.recorded is None)

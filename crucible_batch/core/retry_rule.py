"""Whether a job that the gateway reports as failed gets another attempt, and what to do about
failed jobs."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

HOPELESS_CODES = frozenset(
    {
        "INVALID_PARAMS",
        "INVALID_REQUEST",
        "INVALID_INPUT",
        "UNSUPPORTED_IMAGE",
        "MODERATION_REFUSED",
        "MODERATION_BLOCKED",
        "CONTENT_POLICY_VIOLATION",
        "CONTENT_MODERATED",
        "NSFW_CONTENT",
        "SAFETY_REJECTED",
    }
)
"""Failures that another attempt can't change: the same content is refused again. The contract lists
no such codes; these are the usual ones, and ``retry.never`` in the manifest adds to them."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The number of attempts at a job (at least 1), and the error codes after which there is no
    other attempt."""

    attempts: int = 3
    never: frozenset[str] = HOPELESS_CODES

    def allows_another(self, attempt: int, code: str) -> bool:
        """Whether another attempt follows when attempt number ``attempt`` (from 1) fails with
        ``code``."""
        return attempt < self.attempts and code.upper() not in self.never


KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
"""The code of a job that was bought before by a run directory that is lost, with its images as
other assets. Its outputs need that directory or its receipts; another attempt buys it again."""

PAID_CODES = frozenset(
    {
        "OUTPUT_UNAVAILABLE",
        "LOST_BY_GATEWAY",
        "OUTPUT_EXISTS",
        "OUTPUT_CHANGED",
        "CHECK_FAILED",
        KEY_REUSED,
    }
)
"""Failures of jobs that are paid for, or may be: another attempt doesn't help, and any run
continues them (except those of ``KEY_REUSED``)."""


_FIRST_STEPS = {
    "OUTPUT_EXISTS": "move the files that are in the way of outputs",
    "OUTPUT_CHANGED": "delete the files that new outputs may replace",
    "LOST_BY_GATEWAY": "report the lost jobs to the gateway's operator",
    "CHECK_FAILED": "review the pictures that failed a check",
}


def first_steps(failed: Mapping[str, str]) -> list[str]:
    """Return what has to be done about jobs that are paid for, since the same command changes
    nothing by itself.

    ``failed`` has the codes of failed jobs, each with the message of one of them, or an empty text.
    """
    causes = {code: failed[code].partition(";")[0] for code in _FIRST_STEPS if code in failed}
    return [
        f"{_FIRST_STEPS[code]} ({cause})" if cause else _FIRST_STEPS[code]
        for code, cause in causes.items()
    ]


_DENIED_CODES = frozenset({"FORBIDDEN", "HTTP_403"})


def is_access_denied(code: str) -> bool:
    """Whether the gateway refuses every request of the account with this code, until its operator
    changes that."""
    code = code.upper()
    return code in _DENIED_CODES or code.startswith("ACCOUNT_")


class Remedy(enum.Enum):
    """What to do about failed jobs.

    ``RETRY``: another attempt at one of them may succeed. ``CHANGE``: none can succeed unless the
    jobs are changed. ``CONTINUE``: some are paid for, and no attempt at the others can succeed.
    ``BUY_AGAIN``: the same, but some of them were bought by a run directory that is lost, and
    another attempt would buy them again. ``GET_ACCESS``: another attempt may succeed once the
    gateway no longer denies access to the account, and not before.
    """

    RETRY = enum.auto()
    BUY_AGAIN = enum.auto()
    CHANGE = enum.auto()
    CONTINUE = enum.auto()
    GET_ACCESS = enum.auto()


def remedy_for(codes: Iterable[str], never: Set[str]) -> Remedy | None:
    """Return what to do about jobs that failed with these codes; None if there are none.

    ``never`` are the codes, in upper case, after which there is no other attempt. Reads only as
    many as needed.
    """
    remedy: Remedy | None = None
    is_denied = False
    for code in codes:
        if code.upper() == KEY_REUSED:
            remedy = Remedy.BUY_AGAIN
        elif code.upper() in PAID_CODES:
            if remedy is not Remedy.BUY_AGAIN:
                remedy = Remedy.CONTINUE
        elif code.upper() in never:
            remedy = remedy or Remedy.CHANGE
        elif is_access_denied(code):
            is_denied = True
        else:
            return Remedy.RETRY
    return Remedy.GET_ACCESS if is_denied else remedy


ONCE = RetryRule(attempts=1)
"""Allows no other attempt."""

"""When a run ends with one answer, and not with as many failures as it has jobs.

    what came back                        whose it is     in a row      the run then
    no answer, 5xx, after all tries       the gateway's   5             leaves, exit 5
    a page of the edge, 430 to 499        the gateway's   1             buys nothing more, exit 5
    429 that outlasts all tries           the gateway's   5             buys nothing more, exit 5
    403, 405, others below 429            everyone's      5 alike       buys nothing more, exit 5
    ACCOUNT_..., FORBIDDEN, by any 4xx    everyone's      5 alike       buys nothing more, exit 5
    404; WORKFLOW_..., but by 400 etc.    the workflow's  1             refuses the workflow's other jobs unasked
    400, 409, 413, 415, 422               the job's       never         goes on
    ASSET_..., or a code never retried    the job's       never         goes on
    no record of a job just bought (*)    the gateway's   5             buys nothing more, exit 5
    a job failed for good                 nobody knows    20 alike      buys nothing more, exit 5
    ... by a code never retried           the job's       never         goes on

(*) Only where the record is to be compared with the answer to the submit: ``domain.budget``.

(401 and 402 need no counting: the first ends the run with 3, the second stops all admissions.) A 429 counts only where
no more jobs are at work than the limit of ``domain.concurrency_limit`` allows. *Alike* is the same status and code.

What is the job's neither counts nor interrupts a row: five bad lines after each other end nothing, and one among
suspended ones doesn't hide them. A row of answers ends with any job that is accepted, a row of failures with any that
succeeds. The jobs that made the row stay failed (``--retry-failed`` asks for them again), all others stay pending.
Failed jobs are refunded, so their row is longer; but each has used its attempts up, and thousands of them are no
accident. ``retry.never`` in the manifest is how a user says that a code is the job's own.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Hashable


class FailureScope(enum.Enum):
    """Whom a definite refusal of a submit concerns."""

    JOB = "this job only"
    WORKFLOW = "every job on the workflow"
    EVERYONE = "every job"


_JOBS_STATUSES = frozenset({400, 409, 413, 415, 422})


def failure_scope(status: int | None, code: str, never: Container[str]) -> FailureScope:
    """Decide whom a refusal concerns. ``never`` holds the codes, in capitals, that are never tried again.

    ``status`` None is a request that was never sent, since it breaks the contract.
    """
    code = code.upper()
    if status is None or code in never or code.startswith("ASSET_"):
        return FailureScope.JOB
    if code.startswith("ACCOUNT_") or code == "FORBIDDEN":
        return FailureScope.EVERYONE
    if status in _JOBS_STATUSES:
        return FailureScope.JOB
    return FailureScope.WORKFLOW if status == 404 or code.startswith("WORKFLOW_") else FailureScope.EVERYONE


class ConsecutiveCounter:
    """Counts what comes back alike, one after the other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kind: Hashable = None
        self._count = 0

    def count_reaches_limit(self, kind: Hashable = "") -> bool:
        """Count one more of a kind, another kind beginning the row anew; True from the ``most``-th on."""
        self._count = self._count + 1 if kind == self._kind else 1
        self._kind = kind
        return self._count >= self._most

    def reset(self) -> None:
        """Something went well."""
        self._count = 0

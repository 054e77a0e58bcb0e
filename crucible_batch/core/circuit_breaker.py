"""The circuit breaker: consecutive failures that end a run early.

    answer                               scope         consecutive  effect
    no answer, 5xx, after all tries      the gateway   5            stop immediately, exit 5
    no answer for as long as is allowed  the gateway   1            stop immediately, exit 5 (+)
    a page of the edge, 430 to 499       the gateway   1            buy nothing more, exit 5
    429 after all tries                  the gateway   5            buy nothing more, exit 5
    403, 405, other 4xx below 429 (**)   every job     5 alike      buy nothing more, exit 5
    ACCOUNT_..., FORBIDDEN, by any 4xx   every job     5 alike      buy nothing more, exit 5
    404, or a code WORKFLOW_... (***)    the workflow  1            fail its other jobs unsent
    400, 409, 413, 415, 422              the job       never        none
    ASSET_..., or a code never retried   the job       never        none
    no record of a job just bought (*)   the gateway   5            buy nothing more, exit 5
    a job failed after all attempts      unknown       20 alike     buy nothing more, exit 5
    ... by a code never retried          the job       never        none

(+) By ``core.outage``. (*) Only if the record is to be compared with the answer to the submit:
``core.budget``. (**) Not 401, which ends the run with exit code 3, nor 402, which stops all
purchases until a refund. (***) With another status than 400, 409, 413, 415 and 422.

A 429 counts only while the gateway refuses every submit (``ConcurrencyLimit.is_silent``). *Alike*
is the same status and code.

A failure of the job's own scope neither counts nor resets a counter: five invalid jobs in a row end
no run, and one among answers of a suspended account doesn't hide these. An accepted job resets the
counters of answers, a succeeded one that of failed jobs. The counted jobs stay failed
(``--retry-failed`` tries them again), all others stay pending. Failed jobs are refunded, so their
limit is higher. ``retry.never`` in the manifest lists codes of the job's own scope.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Hashable

from crucible_batch.core.retry_rule import is_access_denied


class FailureScope(enum.Enum):
    """The jobs that a definite refusal of a submit concerns."""

    JOB = "this job only"
    WORKFLOW = "every job on the workflow"
    EVERYONE = "every job"


_JOBS_STATUSES = frozenset({400, 409, 413, 415, 422})


def failure_scope(status: int | None, code: str, never: Container[str]) -> FailureScope:
    """Return the scope of a refusal. ``never`` holds the codes, in capitals, that are never
    retried.

    ``status`` is None for a request that was never sent, since it breaks the contract.
    """
    code = code.upper()
    if status is None or code in never or code.startswith("ASSET_"):
        return FailureScope.JOB
    if is_access_denied(code):
        return FailureScope.EVERYONE
    if status in _JOBS_STATUSES:
        return FailureScope.JOB
    if status == 404 or code.startswith("WORKFLOW_"):
        return FailureScope.WORKFLOW
    return FailureScope.EVERYONE


class ConsecutiveCounter:
    """A counter of consecutive failures of one kind."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kind: Hashable = None
        self._count = 0

    def count_reaches_limit(self, kind: Hashable = "") -> bool:
        """Count a failure, from 1 again for another kind than the last; True once ``most`` is
        reached."""
        if kind != self._kind:
            self._kind, self._count = kind, 0
        self._count += 1
        return self._count >= self._most

    def reset(self) -> None:
        self._count = 0

"""The options of the engine, a part of those of the command `run`.

None of them changes what is bought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

DEFAULT_JOB_TIMEOUT_S = 1800.0
DEFAULT_KEY_TTL_S = 24 * 3600.0
"""How long a gateway is trusted to honour an idempotency key: the contract doesn't define it, a day
is usual.
"""

DEFAULT_WAIT_FOR_GATEWAY_S = 600.0


class TakesJob(Protocol):
    """Whether a run includes a job of this name, which may be made from an output of the job
    ``source``."""

    def __call__(self, name: str, source: str | None = None, /) -> bool: ...


def takes_all(_name: str, _source: str | None = None, /) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs the plan of one run.

    ``concurrency`` is the most jobs in flight; None: found out by how many the gateway accepts and
    keeps busy. ``polls_per_s`` is the most polls in a second; None: as jobs in flight need it.
    ``grace_s`` is how long jobs in flight are awaited after the first signal. ``only`` selects
    jobs by name. A submit without an answer is sent again until its key is ``key_ttl_s`` old, and
    after that with ``resubmit_unknown`` only. ``recover``: see ``engine.recovery``. A purchase that
    doesn't fit beside what is held for refunds waits ``refund_patience_s`` for them.
    ``forget_refunds_by`` is the person who releases what is held for those that are not visible, if
    one does. ``uploads_only``: the images of the jobs are uploaded, and no job is submitted
    (``engine.image_preparer``).
    """

    concurrency: int | None = None
    polls_per_s: float | None = None
    job_timeout_s: float = DEFAULT_JOB_TIMEOUT_S
    deadline_s: float | None = None
    grace_s: float = 30.0
    retry_failed: bool = False
    recover: bool = False
    resubmit_unknown: bool = False
    key_ttl_s: float = DEFAULT_KEY_TTL_S
    only: TakesJob = takes_all
    refund_patience_s: float = DEFAULT_WAIT_FOR_GATEWAY_S
    forget_refunds_by: str | None = None
    uploads_only: bool = False

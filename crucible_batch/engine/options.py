"""How a run goes about its work; none of it changes what is bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job
from crucible_batch.domain.plan import PlannedJob

DEFAULT_KEY_TTL_S = 24 * 3600.0
"""How long a gateway can be trusted to honour an idempotency key: the contract doesn't say, a day is the custom."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run.

    ``concurrency`` is the most jobs at work at once; None finds out how many the gateway takes and has use for.
    ``polls_per_s`` is the most looks at jobs in a second; None leaves it to how many are in flight. ``grace_s`` is how
    long what is in flight is awaited after the first signal. ``only`` picks jobs by name. A submit
    that went unanswered is sent again until its key is ``key_ttl_s`` old, and after that with ``resubmit_unknown``
    only. ``recover``: see ``engine.recovery``. ``on_counted`` is called with each job of the plan, in manifest order,
    and with all that was stopped, when the outcomes are counted at the end.
    """

    concurrency: int | None = None
    polls_per_s: float | None = None
    job_timeout_s: float = 1800.0
    deadline_s: float | None = None
    grace_s: float = 30.0
    retry_failed: bool = False
    recover: bool = False
    resubmit_unknown: bool = False
    key_ttl_s: float = DEFAULT_KEY_TTL_S
    only: Callable[[str], bool] = lambda _name: True
    on_counted: Callable[[PlannedJob, Job, Mapping[str, ErrorInfo]], None] = lambda _planned, _job, _stops: None

"""The context of a run on a cluster, on the machine of its coordinator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.notifying import RunNotices
from crucible_batch.api.request import RunRequest
from crucible_batch.domain.plan import RunTerms
from crucible_batch.engine import Clock
from crucible_batch.manifest import Manifest
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """What the coordinator of one run works with. ``main`` is the main run directory, ``terms`` are the run's."""

    request: RunRequest
    manifest: Manifest
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    deadline: Deadline
    notices: RunNotices
    clock: Clock
    terms: RunTerms
    main: Path

    @property
    def is_late(self) -> bool:
        return self.deadline.left_s == 0

    def part(self, *, shards: int | None, retries: bool = False) -> RunRequest:
        """Return the request of a plan or a run of the coordinator, with the time that is left.

        It is a part of the run: it is neither notified nor measured as if it was the run. ``retries``: failed jobs are
        tried again. Raises ``DeadlineError`` if no time is left.
        """
        self.deadline.check()
        request = self.request
        return replace(
            request,
            shards=shards,
            job_filter=replace(request.job_filter, retry_failed=retries),
            deadline_s=self.deadline.left_s,
            notify=False,
            metrics_textfile=None,
            metrics_listen=None,
            traces=False,
        )

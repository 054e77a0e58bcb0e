"""What is known of a run from its start on: its request, manifest, terms, store and gateway."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from crucible_batch.core.outage import Outage
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.progress import GatewayBack, GatewayUnreachable, Observer, Retrying
from crucible_batch.engine import Clock
from crucible_batch.gateway import HttpGateway, Retrier, RetryNotice, RetryPolicy
from crucible_batch.journal import Binding
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.connecting import gateway_for
from crucible_batch.runs.observers import Observers
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings

PATIENCE_S = 120.0
"""Requests of jobs in progress are retried this long if the gateway answers with errors
(``gateway.retries``)."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What is known of one run before its directory is locked; nothing of it changes.

    ``terms`` are those of the manifest or the shard: a part may grant another budget. ``confirm``
    is called for consent if there is no budget; None if that isn't possible. ``outage`` is waited
    for once the manifest has been checked (``start.py``).
    """

    request: RunRequest
    manifest: Manifest
    terms: RunTerms
    store: OutputStore
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    confirm: Callable[[PlanSummary], bool] | None
    observers: Observers
    clock: Clock
    deadline: Deadline
    outage: Outage

    @property
    def directory(self) -> Path:
        return self.store.directory

    @property
    def binding(self) -> Binding:
        return Binding(self.terms.manifest_name, self.terms.run_id, self.settings.gateway)

    @property
    def needs_consent(self) -> bool:
        return self.terms.budget is None and not self.request.yes

    def gateway(self) -> AbstractAsyncContextManager[HttpGateway]:
        """Return the gateway, whose retries the observers receive."""

        def tell(notice: RetryNotice) -> None:
            operation, reason = notice.operation.value, notice.reason
            message = Retrying(
                self.clock.now(), operation, notice.attempt, notice.wait_s, reason, notice.host
            )
            self.observers.notify(message)

        retrier = Retrier(
            RetryPolicy(patience_s=PATIENCE_S, outage_s=self.request.wait_for_gateway_s),
            on_retry=tell,
            sleep=self.clock.sleep,
            clock=self.clock.monotonic,
            outage=self.outage,
        )
        return gateway_for(self.settings, transport=self.transport, retry=retrier)


def reported_outage(observer: Observer, clock: Clock, limit_s: float) -> Outage:
    """Return an outage that is reported to the observer. Requests do not wait for its end yet.

    ``limit_s`` is the longest time, in seconds. If it is 0, errors are answers from the start: each
    request has its own patience.
    """

    def tell(lasted_s: float, reason: str | None) -> None:
        now = clock.now()
        if reason is None:
            observer.notify(GatewayBack(now, lasted_s))
        else:
            observer.notify(GatewayUnreachable(now, lasted_s, limit_s, reason))

    return Outage(tell, is_awaited=False, has_bought=not limit_s)

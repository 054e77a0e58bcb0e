"""The context of a run: its request, its manifest, the gateway, the journal and the runner."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.connecting import gateway_for
from crucible_batch.api.control_desk import Commanded
from crucible_batch.api.controlling import user_name
from crucible_batch.api.derived_jobs import RunDerivation
from crucible_batch.api.object_runs import image_loader
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.reporting import row_collector
from crucible_batch.api.request import RunRequest
from crucible_batch.domain.events import Saved
from crucible_batch.domain.gateway_types import ErrorInfo, Workflow
from crucible_batch.domain.outage import Outage
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.progress import (
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    Message,
    Observer,
    Retrying,
)
from crucible_batch.domain.spend_cap import SpendCap
from crucible_batch.engine import Clock, EngineOptions, Runner, RunnerPorts
from crucible_batch.engine.journaled_ledger import EventLog
from crucible_batch.gateway import HttpGateway, Retrier, RetryNotice, RetryPolicy
from crucible_batch.journal import Binding, Journal
from crucible_batch.manifest import Manifest
from crucible_batch.option_values import AUTO
from crucible_batch.outputs import OutputStore, Receipts
from crucible_batch.pace.polls import ServiceTimes
from crucible_batch.report import RowFile
from crucible_batch.report.html import Thumbnails
from crucible_batch.settings import Settings

PATIENCE_S = 120.0
"""Requests of jobs in progress are retried this long if the gateway answers with errors (``gateway.retries``)."""


class NullObserver:
    """An observer that ignores all messages."""

    def notify(self, message: Message) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ThumbnailObserver:
    """An observer that starts a picture's thumbnail, in a thread, as soon as the picture is saved.

    Few thumbnails are then left to make when the page is written. Messages are passed on to ``observer``.
    """

    observer: Observer
    thumbnails: Thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self.thumbnails.begin_ahead(message.event.path, message.event.sha256)
        self.observer.notify(message)


@dataclass(frozen=True, slots=True)
class RetryNotifier:
    """A notifier that passes retries to the observer."""

    observer: Observer
    clock: Clock

    def notify(self, notice: RetryNotice) -> None:
        now = self.clock.now()
        operation, reason, host = notice.operation.value, notice.reason, notice.host
        self.observer.notify(Retrying(now, operation, notice.attempt, notice.wait_s, reason, host))

    def outage(self, limit_s: float) -> Outage:
        """Return an outage that is reported to the observer. Requests do not wait for its end yet.

        If outages are not waited for, errors are answers from the start: each request has its own patience.
        """

        def tell(lasted_s: float, reason: str | None) -> None:
            now = self.clock.now()
            if reason is None:
                self.observer.notify(GatewayBack(now, lasted_s))
            else:
                self.observer.notify(GatewayUnreachable(now, lasted_s, limit_s, reason))

        return Outage(tell, is_awaited=False, has_bought=not limit_s)


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of one run. ``confirm`` is called for consent if there is no budget; None if that isn't possible.

    ``outage`` is waited for once the manifest has been checked (``run_start``). ``cap`` is that of the server, if it is
    one of its runs. ``derivation`` has the jobs that are made from outputs. ``commanded`` brings commands from
    elsewhere than the socket, and ``log`` makes a shard's events durable in its store. ``allowance_of`` names the
    budget of a period that the budget in ``terms`` is an allowance of (``Balance``).
    """

    request: RunRequest
    manifest: Manifest
    terms: RunTerms
    store: OutputStore
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    confirm: Callable[[PlanSummary], bool] | None
    observer: Observer
    clock: Clock
    retries: RetryNotifier
    deadline: Deadline
    outage: Outage
    cap: SpendCap | None = None
    derivation: RunDerivation | None = None
    commanded: Commanded = nullcontext
    log: EventLog | None = None
    allowance_of: str | None = None

    def observed_by(self, observer: Observer) -> RunContext:
        """Return the context with another observer. To be called before the gateway is opened."""
        retries = RetryNotifier(observer, self.clock)
        outage = retries.outage(self.request.wait_for_gateway_s)
        return replace(self, observer=observer, retries=retries, outage=outage)

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
        retrier = Retrier(
            RetryPolicy(patience_s=PATIENCE_S, outage_s=self.request.wait_for_gateway_s),
            on_retry=self.retries.notify,
            sleep=self.clock.sleep,
            clock=self.clock.monotonic,
            outage=self.outage,
        )
        return gateway_for(self.settings, transport=self.transport, retry=retrier)

    def journal(self) -> AbstractContextManager[Journal]:
        return Journal.open(self.directory, self.binding, now=self.clock.now())

    def options(self) -> EngineOptions:
        """Return the engine's options, with the time that is left of the deadline now."""
        request = self.request
        return EngineOptions(
            concurrency=None if request.concurrency == AUTO else request.concurrency,
            polls_per_s=request.polls_per_s,
            job_timeout_s=request.job_timeout_s,
            deadline_s=self.deadline.left_s,
            retry_failed=request.job_filter.retry_failed,
            recover=request.recover,
            resubmit_unknown=request.resubmit_unknown,
            refund_patience_s=request.wait_for_gateway_s,
            forget_refunds_by=user_name(os.geteuid()) if request.forget_refunds else None,
            key_ttl_s=request.key_ttl_s,
            only=request.job_filter.takes,
            uploads_only=request.uploads_only,
        )

    def runner(
        self,
        gateway: HttpGateway,
        journal: Journal,
        rows: RowFile,
        *,
        options: EngineOptions,
        workflows: Iterable[Workflow],
        explained: Callable[[ErrorInfo], ErrorInfo] = lambda error: error,
    ) -> Runner:
        """Make the runner. Removes the partial files of killed runs first."""
        times = ServiceTimes()
        for workflow in workflows:
            times.announce(workflow.workflow_id, workflow.expected_s)
        self.store.sweep()
        ports = RunnerPorts(
            gateway=gateway,
            history=journal,
            store=self.store,
            receipts=Receipts(self.directory),
            clock=self.clock,
            observer=self.observer,
            nonce=lambda: secrets.token_hex(16),
            outage=self.outage,
            on_counted=row_collector(self.store.sidecars(), self.terms, rows),
            explained=explained,
            allowance_of=self.allowance_of,
            derivation=self.derivation,
            log=self.log,
            load_image=image_loader(self.store),
        )
        return Runner(ports=ports, terms=self.terms, times=times, options=options)

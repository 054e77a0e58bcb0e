"""The context of a run: its request, its manifest, the gateway, the journal and the runner."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.connecting import gateway_for
from crucible_batch.api.planning import PlanSummary
from crucible_batch.api.request import RunRequest
from crucible_batch.api.status import row_collector
from crucible_batch.domain.events import Saved
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.progress import JobAdvanced, Message, Observer, Retrying
from crucible_batch.domain.service_times import ServiceTimes
from crucible_batch.engine import Runner, RunnerPorts, RunOptions, Slots, SystemClock
from crucible_batch.gateway import HttpGateway, RetryNotice
from crucible_batch.journal import Binding, Journal
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import OutputStore, Receipts
from crucible_batch.report import RowFile
from crucible_batch.report.html import Thumbnails
from crucible_batch.settings import Settings


class NullObserver:
    """An observer that ignores all messages."""

    def notify(self, message: Message) -> None:
        """Do nothing."""


class ThumbnailObserver:
    """An observer that starts a picture's thumbnail, in a thread, as soon as the picture is saved.

    Few thumbnails are then left to make when the page is written. Messages are passed on to ``observer``.
    """

    def __init__(self, observer: Observer, thumbnails: Thumbnails) -> None:
        self._observer = observer
        self._thumbnails = thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self._thumbnails.begin_ahead(message.event.path, message.event.sha256)
        self._observer.notify(message)


class RetryNotifier:
    """A notifier that passes retries to the observer, and pushbacks to the run's slots once these exist."""

    def __init__(self, observer: Observer, clock: SystemClock) -> None:
        self._observer = observer
        self._clock = clock
        self.slots: Slots | None = None

    def notify(self, notice: RetryNotice) -> None:
        now = self._clock.now()
        self._observer.notify(Retrying(now, notice.operation.value, notice.attempt, notice.wait_s, notice.reason))
        if self.slots is not None and notice.is_pushback:
            self.slots.pushed_back(notice.asked_s, notice.reason)


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of one run. ``confirm`` is called for consent if there is no budget; None if that isn't possible."""

    request: RunRequest
    manifest: Manifest
    terms: RunTerms
    store: OutputStore
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    confirm: Callable[[PlanSummary], bool] | None
    observer: Observer
    clock: SystemClock
    retries: RetryNotifier
    deadline: Deadline

    @property
    def directory(self) -> Path:
        return self.store.directory

    @property
    def needs_consent(self) -> bool:
        return self.terms.budget is None and not self.request.yes

    def gateway(self) -> AbstractAsyncContextManager[HttpGateway]:
        return gateway_for(self.settings, transport=self.transport, on_retry=self.retries.notify)

    def journal(self) -> AbstractContextManager[Journal]:
        binding = Binding(self.terms.manifest_name, self.terms.run_id, self.settings.base_url.rstrip("/"))
        return Journal.open(self.directory, binding, now=self.clock.now())

    def options(self) -> RunOptions:
        """Return the engine's options, with the time that is left of the deadline now."""
        request = self.request
        return RunOptions(
            concurrency=request.concurrency,
            polls_per_s=request.polls_per_s,
            job_timeout_s=request.job_timeout_s,
            deadline_s=self.deadline.left_s,
            retry_failed=request.job_filter.retry_failed,
            recover=request.recover,
            resubmit_unknown=request.resubmit_unknown,
            key_ttl_s=request.key_ttl_s,
            only=request.job_filter.takes,
        )

    def runner(
        self,
        gateway: HttpGateway,
        journal: Journal,
        rows: RowFile,
        *,
        options: RunOptions,
        workflows: Iterable[Workflow],
    ) -> Runner:
        """Make the runner and pass pushbacks to its slots. Removes the partial files of killed runs first."""
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
            on_counted=row_collector(self.directory, self.terms, rows),
        )
        runner = Runner(ports=ports, terms=self.terms, times=times, options=options)
        self.retries.slots = runner.slots
        return runner

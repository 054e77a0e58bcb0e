"""What a run takes from outside, and what is made of it: gateway, journal, runner, and who hears of progress."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from crucible_batch.api.connecting import gateway_for
from crucible_batch.api.deadline import NO_DEADLINE, Deadline
from crucible_batch.api.draft import fill_plan
from crucible_batch.api.saved_plans import PlanBasis
from crucible_batch.api.workflows import plan_jobs
from crucible_batch.domain.events import Saved
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.progress import JobAdvanced, Message, Observer, Retrying
from crucible_batch.domain.service_times import ServiceTimes
from crucible_batch.engine import Runner, RunOptions, Slots, SystemClock
from crucible_batch.errors import ConsentError, GatewayError
from crucible_batch.gateway import HttpGateway, RetryNotice
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.manifest import Reading
from crucible_batch.outputs import OutputStore, Receipts
from crucible_batch.report.html import Thumbnails
from crucible_batch.settings import Settings


class NullObserver:
    """An observer that isn't interested."""

    def notify(self, message: Message) -> None:
        """Let it pass."""


class MakingThumbnails:
    """Has each picture's thumbnail made, in a thread, as soon as the picture is saved: the page then waits for few."""

    def __init__(self, observer: Observer, thumbnails: Thumbnails) -> None:
        self._observer = observer
        self._thumbnails = thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self._thumbnails.begin_ahead(message.event.path, message.event.sha256)
        self._observer.notify(message)


class RetryTeller:
    """Tells the observer of retries, and the run's slots, once there are any, of those that ask for less."""

    def __init__(self, observer: Observer, clock: SystemClock) -> None:
        self._observer = observer
        self._clock = clock
        self.slots: Slots | None = None

    def tell(self, notice: RetryNotice) -> None:
        now = self._clock.now()
        self._observer.notify(Retrying(now, notice.operation.value, notice.attempt, notice.wait_s, notice.reason))
        if self.slots is not None and notice.is_pushback:
            self.slots.pushed_back(notice.asked_s, notice.reason)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run takes from outside, and what is made of it."""

    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    observer: Observer
    clock: SystemClock
    retries: RetryTeller
    deadline: Deadline = NO_DEADLINE

    def gateway(self) -> AbstractAsyncContextManager[HttpGateway]:
        return gateway_for(self.settings, transport=self.transport, on_retry=self.retries.tell)

    async def planned(
        self, stack: AsyncExitStack, draft: PlanFile, source: Reading, grounds: PlanBasis, *, nobody_to_ask: bool
    ) -> HttpGateway:
        """Plan the jobs into ``draft``, fill the grounds with what they are made on, and return the gateway, open.

        What is wrong with the manifest is raised before a missing consent, that before a missing key or gateway.
        """
        try:
            if self.settings.api_key is None:
                run_id, note = grounds.terms.run_id, grounds.files.note
                fill_plan(draft, source, run_id, {}, note, watch=self.deadline.check)
            gateway = await stack.enter_async_context(self.gateway())
            await plan_jobs(
                draft,
                source,
                grounds.terms.run_id,
                gateway,
                workflows=grounds.workflows,
                note=grounds.files.note,
                watch=self.deadline.check,
            )
        except GatewayError:
            if nobody_to_ask:
                raise _nobody_to_ask() from None
            raise
        if nobody_to_ask:
            raise _nobody_to_ask()
        return gateway

    def journal(self, directory: Path, terms: RunTerms) -> AbstractContextManager[Journal]:
        binding = Binding(terms.manifest_name, terms.run_id, self.settings.base_url.rstrip("/"))
        return Journal.open(directory, binding, now=self.clock.now())

    def runner(
        self,
        gateway: HttpGateway,
        journal: Journal,
        *,
        store: OutputStore,
        terms: RunTerms,
        options: RunOptions,
        workflows: Iterable[Workflow],
    ) -> Runner:
        """Make the runner, and let it hear of pushbacks; what killed runs left half written is removed first."""
        times = ServiceTimes()
        for workflow in workflows:
            times.announce(workflow.workflow_id, workflow.expected_s)
        store.sweep()
        runner = Runner(
            gateway=gateway,
            history=journal,
            store=store,
            receipts=Receipts(store.directory),
            terms=terms,
            times=times,
            options=options,
            clock=self.clock,
            nonce=lambda: secrets.token_hex(16),
            observer=self.observer,
        )
        self.retries.slots = runner.slots
        return runner


def _nobody_to_ask() -> ConsentError:
    return ConsentError(
        "nobody said how much may be spent, and there is no terminal to ask",
        hint="name a budget (budget.credits in the manifest, or --budget N), or say --yes",
    )

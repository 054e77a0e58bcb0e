"""The runner: resumes jobs of earlier runs, then starts the rest in manifest order, a bounded
number at a time.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial

from crucible_batch.core.engine_options import EngineOptions
from crucible_batch.core.events import HoldReleased, JobEvent, Missed, Prepared, Reopened
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import (
    Command,
    Hold,
    Job,
    Phase,
    RecheckOutputs,
    Submit,
    decide,
    evolve,
)
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import Ending, Outcome, conclude, outcome_of
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook, workflow_class
from crucible_batch.core.receipts import receipt_for
from crucible_batch.core.resuming import key_may_be_forgotten, may_reopen, resume_job
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.downloads import Downloader
from crucible_batch.engine.driver import Driver
from crucible_batch.engine.history import JobIdOwners, Survey, survey
from crucible_batch.engine.job_adder import JobAdder
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_records import PriceRecords
from crucible_batch.engine.job_worker import JobWorker
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.late_outputs import LOOK_AGAIN_AFTER_S, LateOutputChecker
from crucible_batch.engine.ledger_reader import LedgerReader
from crucible_batch.engine.lost_uploads import LostUploads
from crucible_batch.engine.output_relocator import OutputRelocator
from crucible_batch.engine.poller import Poller
from crucible_batch.engine.progress_reporter import ProgressReporter
from crucible_batch.engine.purchase_gate import PurchaseGate
from crucible_batch.engine.recovery import Recovery
from crucible_batch.engine.reopening import Reopening
from crucible_batch.engine.run_control import RunControl
from crucible_batch.engine.runner_ports import RunnerPorts
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slot, Slots
from crucible_batch.engine.unfinished_jobs import UnfinishedJobs
from crucible_batch.engine.uploads import AssetUploader
from crucible_batch.errors import CrucibleBatchError, JournalError
from crucible_batch.pace.concurrency import initial_limit
from crucible_batch.pace.polls import PollScheduler, ServiceTimes

NOT_SUBMITTED = "NOT_SUBMITTED"


class ImagePreparer:
    """Performs the commands of one job, and no command that submits it."""

    def __init__(
        self, context: JobContext, images: Iterable[InputImage], worker: JobWorker
    ) -> None:
        self._context = context
        self._images = tuple(images)
        self._worker = worker

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        """Perform one command. None if the images are ready, or if the command would submit the
        job.

        Raises as ``JobWorker.perform`` does.
        """
        match command:
            case Submit():
                return None
            case Hold() if await self._are_ready():
                return None
            case _:
                event = await self._worker.perform(job, command)
                if isinstance(event, Prepared):
                    return self._released()
                return event

    async def _are_ready(self) -> bool:
        await self._context.gate.wait_until_open()
        await self._context.assets.look_up(self._images)
        return self._context.assets.are_there(self._images)

    def _released(self) -> HoldReleased:
        error = ErrorInfo(
            NOT_SUBMITTED, "its images were made ready at the gateway, and it was not submitted"
        )
        return HoldReleased(at=self._context.clock.now(), error=error)


_ASKING = {Phase.READY, Phase.FAILED}
"""Phases from which a queued job is submitted."""
_HAS_OUTPUTS = {Phase.SUCCEEDED, Phase.FETCHING}
"""Phases in which an earlier run has saved outputs.

One that was killed may have left a job to be listed once more.
"""
_LAST_READING_S = 10.0
"""How long the last reading of the gateway's ledger may take.

The next run or an audit reads it again.
"""
_LATER_LOOKS = 16
"""Lists of outputs read again at the same time. Each is one request and needs no slot."""


class Runner:
    """One run of one directory. ``run`` may be called once."""

    def __init__(
        self,
        *,
        ports: RunnerPorts,
        terms: RunTerms,
        times: ServiceTimes,
        options: EngineOptions,
    ) -> None:
        self._ports = ports
        self._history = history = ports.history
        self._store = ports.store
        self._clock = clock = ports.clock
        self._options = options
        self._rule = terms.rule
        self._retired: frozenset[str] = frozenset()
        self._waiting: deque[tuple[PlannedJob, Job]] = deque()
        """Jobs before the rest of the plan: left in flight by an earlier run, then those that
        returned their slot.
        """
        self._looking_later = asyncio.Semaphore(_LATER_LOOKS)
        self._settling = asyncio.Lock()
        self._settled = False
        self._outage = ports.outage
        self.stop = Shutdown(self._outage, ports.explained)
        self._limit = initial_limit(options.concurrency)
        self.slots = Slots(self._limit, self.stop, clock, ports.observer)
        self.accounting = JournaledLedger(
            ports.log or history,
            Ledger(PriceBook.of(terms)),
            terms.budget,
            allowance_of=ports.allowance_of,
        )
        self._tell = ProgressReporter(
            ports.observer, self.accounting, clock, self._is_beside, terms
        )
        self._may_reopen = partial(may_reopen, buys_again=options.resubmit_unknown)
        failed = partial(history.started_jobs, self._rule)
        self._reopening = Reopening(failed, options.only, self._may_reopen, self._waiting)
        self.control = RunControl(
            ports, self.stop, self.slots, self._tell, self._reopening, options=options
        )
        self._adder = JobAdder(
            ports.derivation,
            history,
            self._waiting,
            self._tell,
            self._rule,
            is_chosen=options.only,
            lacks_files=lambda job: bool(self._missed(job)),
        )
        self._ledger_reader = LedgerReader(
            ports.gateway,
            self.accounting,
            history,
            clock,
            patience_s=options.refund_patience_s,
            name_of=self._name_of,
        )
        self._unfinished = UnfinishedJobs(self.accounting, clock, self._tell)
        self._lost_uploads = LostUploads(
            ports.gateway, self.accounting, history, clock, self.stop, readings=self._ledger_reader
        )
        self._context = self._job_context(terms, times)

    def _job_context(self, terms: RunTerms, times: ServiceTimes) -> JobContext:
        gateway, clock = self._ports.gateway, self._clock
        admission = self._admission()
        gate = PurchaseGate(gateway, self._outage, self.control.pause, self.stop, clock)
        records = PriceRecords()
        fetcher = self._downloader(terms, records)
        poller = Poller(
            gateway,
            clock,
            PollScheduler(times, self._options.polls_per_s, self._limit.requests),
            job_timeout_s=self._options.job_timeout_s,
            limit=self._limit,
            outage=self._outage,
        )
        return JobContext(
            gateway=gateway,
            accounting=self.accounting,
            admission=admission,
            assets=self._uploader(gate),
            poller=poller,
            fetcher=fetcher,
            lister=LateOutputChecker(clock, fetcher, poller, records.note),
            records=records,
            stop=self.stop,
            slots=self.slots,
            clock=clock,
            gate=gate,
            gone_workflows={},
            recovery=Recovery(self.stop, wanted=self._options.recover),
            owners=JobIdOwners(self._history, self.accounting),
            is_forgotten=self._is_forgotten,
        )

    def _admission(self) -> Admission:
        pause = self.control.pause
        admission = Admission(
            self.accounting,
            self._ledger_reader,
            self.stop,
            self._clock,
            pause=pause,
            shortage=self._store.shortage,
            awaited_uploads=lambda: self._lost_uploads.awaited,
        )
        self._lost_uploads.on_settled.append(admission.wake)
        self.stop.on_change += [admission.wake, self.slots.wake, pause.wake]
        pause.on_change.append(admission.wake)
        return admission

    def _downloader(self, terms: RunTerms, records: PriceRecords) -> Downloader:
        relocator = OutputRelocator(
            self._history,
            self.accounting,
            self._store,
            self._clock,
            self._apply,
            counts=self._adder.counts,
            gives_way=self._adder.gives_way,
            freed=self._ports.freed,
        )
        return Downloader(
            self._ports.gateway,
            self._store,
            self._clock,
            jitter=self._ports.jitter,
            terms=terms,
            find_path=relocator.find_path,
            on_record=records.note,
            same_bytes=self._adder.is_used,
        )

    def _uploader(self, gate: PurchaseGate) -> AssetUploader:
        return AssetUploader(
            self._ports.gateway,
            self.accounting,
            self._clock,
            past=self._history.asset,
            nonce=self._ports.nonce,
            observe=self._tell.asset,
            load=self._ports.load_image,
            may_buy=lambda: self.stop.may_buy_now() and gate.is_open,
        )

    async def run(self) -> Ending:
        """Advance every job as far as possible, and return how the run ended.

        Expected failures are in the ending and the journal. Cancelling ends it immediately, with
        the journal intact.
        """
        with closing(self._ports.receipts):
            return await self._run()

    async def _run(self) -> Ending:
        found = self._survey()
        counts = found.counts
        if self._options.uploads_only:
            counts = Counter()
        self._tell.began(counts)
        # Without a job to do, an upload may still be in doubt: its job has left the plan, or was
        # completed without it. So may the charge of an upload or the refund of a failed attempt.
        is_settled = not (
            self._context.assets.held()
            or self._lost_uploads.are_open
            or self.accounting.ledger.awaits_refunds
        )
        if not found.is_finished or not is_settled:
            with self._noting_failures():
                await self._ledger_reader.begin(forget_by=self._options.forget_refunds_by)
                await self._unfinished.record_forgotten(found.forgotten)
                left = await self._unfinished.skip_unsent(found.in_flight, self._takes)
                identities = {job.identity for _, job in left}
                for _, job in found.in_flight:
                    if job.identity not in identities:
                        self._context.admission.leave(job.identity)
                self._waiting.extend(left)
            await self._work(found)
            await self._read_ledger_at_end()
            with self._noting_failures():
                # Cancelled workers have left events in the writer's queue, and what follows reads
                # the journal.
                await self._history.drain()
                # Otherwise reading all jobs would change nothing.
                if found.has_images or self._adder.is_used:
                    await self._unfinished.release_unsent(
                        self._history.jobs(self._rule), "the run ended"
                    )
        self._adder.arrange()
        failed = await self._judge()
        self.stop.explain()
        counts, blocked = self._count(failed)
        ending = conclude(counts, self.stop.stops, self.stop.reasons, by_sources=blocked)
        ending = replace(ending, job_stops=failed)
        self._tell.ended(ending, counts)
        return ending

    def _takes(self, planned: PlannedJob) -> bool:
        """Whether this run may buy the job, or upload its images."""
        is_chosen = self._options.only(planned.name, planned.source_name)
        return is_chosen and not self._is_retired(planned.identity)

    def _is_beside(self, planned: PlannedJob) -> bool:
        return self._options.uploads_only or not self._takes(planned)

    def _decides_outcome(self, planned: PlannedJob) -> bool:
        """Whether the job's outcome counts for the run.

        Where jobs are only prepared, one with its images is done.
        """
        is_done = self._options.uploads_only and self._context.assets.are_there(
            planned.images.values()
        )
        return self._takes(planned) and not is_done

    def _is_retired(self, identity: str) -> bool:
        return identity in self._retired and not self._adder.has_added(identity)

    async def _judge(self) -> Mapping[str, ErrorInfo]:
        """Return the jobs that count as failed although their outputs are saved, by identity.

        The deadline of the run bounds the wait.
        """
        watcher = asyncio.create_task(self.control.deadline.keep())
        try:
            return await self._ports.judged(self.stop.leaving)
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])

    def _count(self, failed: Mapping[str, ErrorInfo]) -> tuple[Counter[Outcome], int]:
        """Count the jobs of the run by their outcome, and those that others block.

        ``failed`` are those that count as failed although their outputs are saved.
        """
        counts: Counter[Outcome] = Counter()
        blocked = 0
        stops = {**self.stop.stops, **failed}
        for planned, job in self._history.jobs(self._rule):
            self._ports.on_counted(planned, job, stops)
            if self._decides_outcome(planned):
                blocked += job.phase is Phase.BLOCKED
                price_class = workflow_class(planned.workflow_id)
                outcome, _ = outcome_of(job, price_class, stops)
                counts[outcome] += 1
        return counts, blocked

    # -- what there is to do

    def _survey(self) -> Survey:
        """Replay the journal into the ledger, and find the jobs that earlier runs left."""
        for subject, event in self._history.events():
            self.accounting.ledger.apply(subject, event)
        found = survey(
            self._history,
            self._rule,
            missed=self._missed,
            is_forgotten=self._is_forgotten,
            includes=self._options.only,
        )
        self._retired = found.retired
        for _, job in found.in_flight:
            self._context.admission.add_resumed(job)
        return found

    def _missed(self, job: Job) -> list[int]:
        """Return the indexes of a job's outputs that are no longer on disk in the size that was
        saved."""
        if job.phase not in _HAS_OUTPUTS:
            return []
        outputs = job.outputs.items()
        return [
            index for index, saved in outputs if not self._store.has(saved.path, saved.byte_size)
        ]

    def _name_of(self, identity: str) -> str:
        known = self._history.known(identity)
        if known is None:
            return identity[:16]
        return known[0].name

    def _is_forgotten(self, job: Job) -> bool:
        return not self._options.resubmit_unknown and key_may_be_forgotten(
            job, self._clock.now(), self._options.key_ttl_s
        )

    def _take(self, rest: Iterator[tuple[PlannedJob, Job]]) -> tuple[PlannedJob, Job] | None:
        """Return the next job that this run may advance; None if there is none."""
        while True:
            found = self._waiting.popleft() if self._waiting else next(rest, None)
            if found is None or not self.stop.no_more or found[1].phase is not Phase.READY:
                return found

    def _queue(self, taken: frozenset[str]) -> Generator[tuple[PlannedJob, Job], None, None]:
        if self._options.recover:
            probe = self._probe(taken)
            if probe is not None:
                yield probe
                taken |= {probe[1].identity}
        yield from self._open_jobs(taken)

    def _probe(self, taken: frozenset[str]) -> tuple[PlannedJob, Job] | None:
        """Return a job that asks the gateway for the least, since it has no images: it is the one
        to find out with.
        """
        with closing(self._open_jobs(taken)) as open_jobs:
            asking = (
                found for found in open_jobs if not found[0].images and found[1].phase in _ASKING
            )
            return next(asking, None)

    def _open_jobs(self, taken: frozenset[str]) -> Generator[tuple[PlannedJob, Job], None, None]:
        for planned, job in self._history.jobs(self._rule):
            is_queued = self._reopening.has_chosen(job.identity) or self._adder.has_added(
                job.identity
            )
            if job.identity in taken or is_queued:
                continue
            if job.phase is Phase.UNAVAILABLE or self._missed(job):
                yield planned, resume_job(job)
            elif self._options.only(planned.name, planned.source_name) and (
                job.phase is Phase.READY or (self._options.retry_failed and self._may_reopen(job))
            ):
                self._reopening.queued(job)
                yield planned, job

    # -- doing it

    async def _work(self, found: Survey) -> None:
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._work_all(found))
            kept = [
                self._watch(work),
                self._context.poller.keep_time(),
                self._keep_reading_ledger(),
                self._keep_settling_uploads(),
            ]
            # A run that only settles what is held is not stopped by its deadline.
            if not found.is_finished:
                kept.append(self.control.deadline.keep())
            watchers = [group.create_task(each) for each in kept]
            await asyncio.wait([work])
            for watcher in watchers:
                watcher.cancel()

    async def _work_all(self, found: Survey) -> None:
        # Closed even if it is left half read: an open read of the journal keeps the run's end from
        # being written.
        with closing(self._queue(found.taken)) as queue:
            most = min(2 * self._limit.ceiling, found.most_workers)
            await self.control.workers.run(partial(self._worker, queue), most)

    async def _watch(self, work: asyncio.Task[None]) -> None:
        await self.stop.leaving.wait()
        work.cancel()

    async def _keep_reading_ledger(self) -> None:
        with self._noting_failures():
            await self._ledger_reader.keep()

    async def _keep_settling_uploads(self) -> None:
        with self._noting_failures():
            await self._lost_uploads.keep()

    async def _read_ledger_at_end(self) -> None:
        """Settle lost uploads and read the ledger once more, unless the run has to end now or there
        is no answer."""
        if self.stop.leaving.is_set() or self._outage.is_on:
            return
        with self._noting_failures():
            # Not beside the deadline: the jobs are done.
            await self._lost_uploads.settle_at_end()
        with self._noting_failures(), suppress(TimeoutError):
            async with asyncio.timeout(_LAST_READING_S):
                await self._ledger_reader.end()

    async def _settle(self) -> None:
        """Settle uploads in doubt, once.

        All workers wait for it, so that it can be cancelled like their work.
        """
        async with self._settling:
            if not self._settled:
                with self._noting_failures():
                    await self._context.assets.settle()
                    await self._lost_uploads.settle()
                self._settled = True

    async def _worker(self, queue: Iterator[tuple[PlannedJob, Job]]) -> None:
        await self._settle()
        # Between taking a job and its hold only the end of an outage is awaited, so holds follow
        # the queue's order, except right after an outage.
        while True:
            async with self.slots.slot() as slot:
                taken = None
                with self._noting_failures():  # it is read from the journal
                    taken = self._take(queue)
                if taken is None:
                    return
                with self._noting_failures(taken[0].name):
                    self._tell.taken_up(*taken)
                    async with self._context.recovery.turn():
                        await self._advance_with_slot(*taken, slot, self._preliminaries(taken[1]))

    async def _advance_with_slot(
        self, planned: PlannedJob, job: Job, slot: Slot, preliminaries: Iterable[JobEvent] = ()
    ) -> None:
        """Advance a job until only its list of outputs is to be read again, which is done later
        without a slot."""
        job = await self._advance(planned, job, slot, self._next_command, preliminaries)
        await self._adder.add(planned, job, lambda: self.control.workers.add(1))
        if self._must_return_slot(job):
            self._waiting.append((planned, job))
        elif isinstance(decide(job), RecheckOutputs) and not self.stop.leaving.is_set():
            self.control.workers.later(partial(self._look_again, planned, job))

    async def _look_again(self, planned: PlannedJob, job: Job) -> None:
        await self._clock.sleep(LOOK_AGAIN_AFTER_S)
        with self._noting_failures(planned.name):
            async with self._looking_later:
                job = await self._advance(planned, job, Slot(), _look_only)
            if decide(job) is None:  # what follows may depend on there being no others
                await self._adder.add(planned, job, lambda: self.control.workers.add(1))
                return
            async with self.slots.slot() as slot:
                await self._advance_with_slot(planned, job, slot)

    @contextmanager
    def _noting_failures(self, job: str = "") -> Iterator[None]:
        """Record an error of a job as a reason to stop: immediately if every other job would meet
        it.
        """
        try:
            yield
        except CrucibleBatchError as error:
            self.stop.note(error, job)

    async def _advance(
        self,
        planned: PlannedJob,
        job: Job,
        slot: Slot,
        wants: Callable[[Job], Command | None],
        preliminaries: Iterable[JobEvent] = (),
    ) -> Job:
        worker = JobWorker(self._context, planned, slot, may_buy=not self._is_retired(job.identity))
        perform = worker.perform
        if self._options.uploads_only:
            perform = ImagePreparer(self._context, planned.images.values(), worker).perform
        latest = job

        def advance(job: Job, event: JobEvent) -> Job:
            nonlocal latest
            latest = self._apply(planned, job, event)
            return latest

        try:
            for event in preliminaries:
                await self.accounting.record(job.identity, event)
                job = advance(job, event)
            driver: Driver[Job, Command, JobEvent] = Driver(
                wants, perform, self.accounting.record, advance
            )
            return await driver.drive(job)
        except Exception as error:
            if latest.phase is Phase.PREPARING and not isinstance(error, JournalError):
                # No submit was sent: its hold would only keep credits from other jobs until the run
                # ends.
                declined = self._unfinished.unsent("the run failed", error)
                await self.accounting.record(job.identity, declined)
                advance(latest, declined)
            raise
        finally:
            self._context.admission.leave(job.identity)
            self._context.assets.release(job.identity)

    def _next_command(self, job: Job) -> Command | None:
        command = decide(job)
        if self._must_return_slot(job) or isinstance(command, RecheckOutputs):
            return None
        return command

    def _must_return_slot(self, job: Job) -> bool:
        """Whether a job that would ask for credits has to queue behind jobs in flight that have no
        slot yet.

        They hold the credits it may wait for, so with all slots waiting for credits the run would
        not end. The same if more jobs are active than allowed: a job refused with 429 is tried
        again when others are done.
        """
        if job.phase is not Phase.READY:
            return False
        return self.slots.too_many or any(
            waiting.phase is not Phase.READY for _, waiting in self._waiting
        )

    def _preliminaries(self, job: Job) -> Iterator[JobEvent]:
        """Yield the events with which a run begins the work on a job."""
        if job.phase is Phase.PREPARING:
            # Killed while its images were uploaded: no submit was sent and prices may have changed,
            # so it holds again.
            yield self._unfinished.unsent("an earlier run ended")
        # Not of a job that left the plan: nobody asks for its file, and another job's may be at its
        # path.
        if not self._is_retired(job.identity):
            for index in self._missed(job):
                yield Missed(at=self._clock.now(), index=index)
        if job.phase is Phase.FAILED:
            yield Reopened(at=self._clock.now())
            self._reopening.begun(job.identity)

    def _apply(self, planned: PlannedJob, job: Job, event: JobEvent) -> Job:
        """Return the job after a journalled event, which is reported, and written as a receipt if
        it has one."""
        advanced = evolve(job, event)
        receipt = receipt_for(advanced, event)
        if receipt is not None:
            self._ports.receipts.add(receipt)
        self._tell.job(planned, job, event, advanced)
        return advanced


def _look_only(job: Job) -> Command | None:
    command = decide(job)
    if isinstance(command, RecheckOutputs):
        return command
    return None

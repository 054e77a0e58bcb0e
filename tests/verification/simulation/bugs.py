"""Planted bugs: each takes one safety out of the product. A judge that misses one is no judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from crucible_batch.core import budget, events, identity, job, prices, resuming
from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.core.ledger import Ledger
from crucible_batch.engine import admission, history, job_records, poller, uploads
from crucible_batch.engine.job_worker import JobWorker
from crucible_batch.engine.purchase_check import PurchaseCheck
from crucible_batch.engine.uploads import AssetUploader
from crucible_batch.journal import Journal
from crucible_batch.outputs import image_check, store
from tests.harness.replacing import replace
from tests.verification.simulation.price_worlds import FIRST_SCENE, FIRST_SEED
from tests.verification.simulation.refund_bugs import REFUND_BUGS
from tests.verification.simulation.scene_bugs import SCENE_BUGS

Plant = Callable[[ExitStack], None]
_BUGS: dict[str, Plant] = {}

SEEDS_ALLOWED = 70
"""So many seeds may pass before a bug has to show."""
RARE = {
    "a body of the wrong length accepted": 137,
    "a cut body accepted": 137,
    "a hopeless failure tried again": 150,
    "a hold that others see late": 100,
    "a hold that replaces that of the failed attempt": 128,
    "a record above its answer ignored": FIRST_SEED,
    "a ceiling ignored": FIRST_SEED,
    "a price that rose not taken in": 85,
    "a rebate counted twice": 96,
    "the newest price kept": FIRST_SEED + 300,
    "a list of outputs taken for the whole at once": 632,
    "a cut behind the last pixel accepted": 137,
    "a key without the digest of its source": FIRST_SCENE + 270,
    "a pending asset not given back": 70,
}
"""Rare weather, and prices that move: these are looked for from a seed on that has it, so that
hundreds needn't be played for each."""


def first_seed(bug: str) -> int:
    return RARE.get(bug, FIRST_SCENE if bug in SCENE_BUGS else 0)


def _bug(plant: Plant) -> Plant:
    _BUGS[plant.__name__.strip("_").replace("_", " ")] = plant
    return plant


def bugs() -> Mapping[str, Plant]:
    """All planted bugs, by what they do."""
    return {**_BUGS, **REFUND_BUGS, **SCENE_BUGS}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have one bug in the product for as long as the block lasts."""
    with ExitStack() as stack:
        bugs()[name](stack)
        yield


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


def _set_effects(stack: ExitStack, effects: Mapping[type[events.Event], Any]) -> None:
    """Give events another effect on the ledger, which has its methods in a table."""
    _set(stack, Ledger, "_EFFECTS", Ledger._EFFECTS | effects)


# -- keys and attempts


@_bug
def a_new_key_after_doubt(stack: ExitStack) -> None:
    send = JobWorker._send

    async def again(self: JobWorker, subject: job.Job) -> Any:
        event = await send(self, subject)
        if isinstance(event, events.SubmitUnknown):
            other = replace(subject.current, key=identity.idempotency_key(subject.identity, 99))
            event = await send(self, replace(subject, attempts=(other,)))
        return event

    _set(stack, JobWorker, "_send", again)


@_bug
def a_key_that_is_random(stack: ExitStack) -> None:
    numbers = iter(range(10**9))
    _set(
        stack,
        job,
        "idempotency_key",
        lambda identity, attempt: f"cb1-{identity[:40]}-{next(numbers)}",
    )


@_bug
def the_next_attempt_bought_without_a_failure(stack: ExitStack) -> None:
    resumed = resuming.resume_job

    def eager(subject: job.Job) -> job.Job:
        if subject.phase is job.Phase.IN_FLIGHT:
            return replace(subject, phase=job.Phase.READY, attempt=subject.attempt + 1)
        return resumed(subject)

    _set(stack, history, "resume_job", eager)


@_bug
def a_hopeless_failure_tried_again(stack: ExitStack) -> None:
    _set(
        stack, job.RetryRule, "allows_another", lambda self, attempt, _code: attempt < self.attempts
    )


@_bug
def an_unknown_status_taken_for_failed(stack: ExitStack) -> None:
    ended = poller.Poller.until_ended

    async def until_ended(self: Any, *args: Any, **options: Any) -> Any:
        look = self._gateway.job

        async def hasty(job_id: str, **named: Any) -> Any:
            snapshot = await look(job_id, **named)
            if snapshot.status is JobStatus.UNKNOWN:
                return replace(snapshot, status=JobStatus.FAILED)
            return snapshot

        with patch.object(self._gateway, "job", hasty):
            return await ended(self, *args, **options)

    _set(stack, poller.Poller, "until_ended", until_ended)


@_bug
def a_lost_job_taken_for_one_never_bought(stack: ExitStack) -> None:
    poll = JobWorker._poll

    async def forgiving(self: JobWorker, subject: job.Job, job_id: str) -> Any:
        event = await poll(self, subject, job_id)
        if isinstance(event, events.JobLost):
            return events.Failed(at=event.at, error=event.error)
        return event

    _set(stack, JobWorker, "_poll", forgiving)


# -- money


@_bug
def a_hold_released_on_no_answer(stack: ExitStack) -> None:
    apply = Ledger.apply

    def careless(self: Ledger, subject: str, event: events.Event) -> None:
        apply(self, subject, event)
        if isinstance(event, events.SubmitUnknown):
            self._end_hold(subject)

    _set(stack, Ledger, "apply", careless)


@_bug
def holds_left_out_of_the_budget(stack: ExitStack) -> None:
    _set(stack, Ledger, "committed", property(lambda self: self.spent))


@_bug
def a_hold_that_others_see_late(stack: ExitStack) -> None:
    """Between the decision and the durable fact others decide as if nothing were held."""
    _set(stack, Ledger, "hold_ahead", lambda self, subject, held: None)
    _set(
        stack, PurchaseCheck, "hold_too_small", lambda self, subject: None
    )  # else the job would ask again for ever


def _decided(
    stack: ExitStack,
    change: Callable[[budget.HoldRequest, Ledger, budget.AdmissionState], budget.AdmissionState],
) -> None:
    """Have each decision made in another situation than there is."""
    decide = budget.decide_admission

    def decided(
        request: budget.HoldRequest,
        entries: Ledger,
        cap: Decimal | None,
        there: budget.AdmissionState,
    ) -> Any:
        return decide(request, entries, cap, change(request, entries, there))

    _set(stack, admission, "decide_admission", decided)


@_bug
def one_alone_sent_beside_others(stack: ExitStack) -> None:
    def change(
        request: budget.HoldRequest, entries: Ledger, there: budget.AdmissionState
    ) -> budget.AdmissionState:
        if budget.Need.of(request, entries.prices).bound is not None:
            return there
        return replace(there, unanswered=0, is_one_alone=False, alone_in_doubt=False)

    _decided(stack, change)


@_bug
def as_many_unanswered_as_fit(stack: ExitStack) -> None:
    _set(stack, budget.SlowStart, "limit", 10**6)


@_bug
def one_alone_sent_whatever_it_is_expected_to_cost(stack: ExitStack) -> None:
    _set(stack, budget.Need, "fits", lambda self, left: left >= 0)


@_bug
def one_that_is_answered_taken_for_one_alone_in_doubt(stack: ExitStack) -> None:
    """Nothing is overspent then, and what only can go alone is never bought."""
    begin = Ledger.__init__

    def keeping(self: Ledger, book: prices.PriceBook | None = None) -> None:
        begin(self, book)
        self._alone = _Kept()

    _set(stack, Ledger, "__init__", keeping)


class _Kept(set[str]):
    def discard(self, element: str) -> None:
        pass


@_bug
def holds_at_the_expected_price(stack: ExitStack) -> None:
    def bound(self: prices.PriceBook, shape: prices.Shape) -> Decimal | None:
        return self.ceiling_of(shape) or self.expected(shape) or None

    _set(stack, prices.PriceBook, "bound", bound)


@_bug
def the_newest_price_kept(stack: ExitStack) -> None:
    def learn(self: prices.PriceBook, shape: prices.Shape, credits: Decimal) -> None:
        for known in (shape, prices.Shape(shape.price_class)):
            self._highest[known] = credits

    _set(stack, prices.PriceBook, "learn", learn)


@_bug
def a_price_that_rose_not_taken_in(stack: ExitStack) -> None:
    def learn(self: prices.PriceBook, shape: prices.Shape, credits: Decimal) -> None:
        for known in (shape, prices.Shape(shape.price_class)):
            self._highest.setdefault(known, credits)

    _set(stack, prices.PriceBook, "learn", learn)


@_bug
def a_record_above_its_answer_ignored(stack: ExitStack) -> None:
    compare = JobWorker._compare_price
    _set(
        stack,
        JobWorker,
        "_compare_price",
        lambda self, job, _recorded: compare(self, job, job.current.credits),
    )
    _set(stack, job_records, "record_differs", lambda attempt, record, *, is_final: False)
    _set(stack, Ledger, "_repriced_to", lambda self, subject, record: None)


@_bug
def a_ceiling_ignored(stack: ExitStack) -> None:
    _set(stack, prices.PriceBook, "ceiling_of", lambda self, shape: None)


@_bug
def a_refund_counted_twice(stack: ExitStack) -> None:
    ended = Ledger._job_ended

    def twice(self: Ledger, subject: str, event: events.Failed) -> None:
        amount = self.hold_of(subject)
        ended(self, subject, event)
        self.jobs -= amount

    _set_effects(stack, {events.Failed: twice})


@_bug
def a_rebate_counted_twice(stack: ExitStack) -> None:
    apply = Ledger.apply

    def twice(self: Ledger, subject: str, event: events.Event) -> None:
        apply(self, subject, event)
        if isinstance(event, events.Deleted):
            self._rebates += event.rebate

    _set(stack, Ledger, "apply", twice)


@_bug
def credits_through_binary_floats(stack: ExitStack) -> None:
    ended = Ledger._job_ended

    def floating(self: Ledger, subject: str, event: Any) -> None:
        ended(self, subject, event)
        self.jobs = Decimal(float(self.jobs))

    ends = (events.Succeeded, events.Failed, events.JobLost)
    _set_effects(stack, dict.fromkeys(ends, floating))


@_bug
def an_append_that_is_not_awaited(stack: ExitStack) -> None:
    append = Journal.append
    under_way: set[asyncio.Future[None]] = set()

    async def hasty(self: Journal, subject: str, event: events.Event) -> None:
        under_way.add(asyncio.ensure_future(append(self, subject, event)))

    _set(stack, Journal, "append", hasty)


# -- images


@_bug
def a_lost_intent_not_looked_up(stack: ExitStack) -> None:
    async def shrug(self: AssetUploader, asset: Any) -> events.NotCreated:
        return events.NotCreated(at=0.0, error=uploads.ErrorInfo("NO_ANSWER", "never mind"))

    _set(stack, AssetUploader, "_find_lost", shrug)


@_bug
def an_asset_deleted_while_it_is_needed(stack: ExitStack) -> None:
    ready = AssetUploader.ready

    async def tidy(self: AssetUploader, image: Any, *, payer: str) -> str:
        asset_id = await ready(self, image, payer=payer)
        await self._gateway.delete_asset(asset_id)
        return asset_id

    _set(stack, AssetUploader, "ready", tidy)


@_bug
def a_pending_asset_not_given_back(stack: ExitStack) -> None:
    async def keep(self: AssetUploader, asset: Any) -> events.Deleted:
        return events.Deleted(at=0.0, rebate=Decimal(0))

    _set(stack, AssetUploader, "_give_back", keep)


@_bug
def an_asset_used_before_it_is_ready(stack: ExitStack) -> None:
    async def hasty(self: AssetUploader, asset: Any) -> events.BecameReady:
        return events.BecameReady(at=0.0)

    _set(stack, AssetUploader, "_await", hasty)


# -- outputs


@_bug
def a_cut_body_accepted(stack: ExitStack) -> None:
    examine = store.examine
    _set(stack, store, "examine", lambda path, *, whole: examine(path, whole=False))
    _set(stack, image_check, "_has_end", lambda kind, file: True)


@_bug
def a_cut_behind_the_last_pixel_accepted(stack: ExitStack) -> None:
    _set(stack, image_check, "_ENDS", {})


@_bug
def a_body_of_the_wrong_length_accepted(stack: ExitStack) -> None:
    save = store.OutputStore.save

    async def trusting(
        self: Any, pattern: str, index: int, token: str, body: Any, length: int | None, **more: Any
    ) -> Any:
        return await save(self, pattern, index, token, body, None, **more)

    _set(stack, store.OutputStore, "save", trusting)
    examine = store.examine
    _set(stack, store, "examine", lambda path, *, whole: examine(path, whole=False))
    _set(stack, image_check, "_has_end", lambda kind, file: True)


@_bug
def a_list_of_outputs_taken_for_the_whole_at_once(stack: ExitStack) -> None:
    ended = JobWorker._end_event

    def hasty(self: JobWorker, subject: job.Job, snapshot: Any) -> Any:
        event = ended(self, subject, snapshot)
        if isinstance(event, events.Succeeded):
            return replace(event, outputs=max(1, event.outputs), numbers=None)
        return event

    _set(stack, JobWorker, "_end_event", hasty)


@_bug
def an_output_recorded_that_is_not_there(stack: ExitStack) -> None:
    _set(
        stack, store, "_publish", lambda temporary, directory, path, digest, accepted_digest: digest
    )
    _set(stack, store, "link_into_place", lambda folder, temporary, path, digest: digest)

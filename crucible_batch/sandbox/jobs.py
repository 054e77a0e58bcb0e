"""Generations.

They are accepted once per idempotency key, worked off by the runners, and settled in the ledger
when they end.
"""

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.faults import Stage
from crucible_batch.sandbox.ledger import WorldContext
from crucible_batch.sandbox.pricing import FIXED, Pricing, Purchase
from crucible_batch.sandbox.records import Job, OutputShape, Params, RefusedError, chance, not_found
from crucible_batch.sandbox.workflows import Workflow, prompt, steps

_REFUSED_WORD = "nsfw"
"""A prompt with this word fails with MODERATION_REFUSED."""


class KeyReusedError(RefusedError):
    """An idempotency key that belongs to a job with another workflow or other parameters."""

    def __init__(self) -> None:
        super().__init__(
            400,
            "IDEMPOTENCY_KEY_REUSED",
            "This idempotency key belongs to a job with another workflow or other params.",
            "Send each new generation under a key of its own.",
        )


@dataclass(frozen=True, slots=True)
class Order:
    workflow_id: str
    params: Params
    idempotency_key: str | None

    def fingerprint(self) -> str:
        """Return a digest by which two orders under one key are compared."""
        text = exact_json.dumps([self.workflow_id, self.params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ResolvedOrder:
    """An order that was checked: its workflow, the shapes of its outputs, and its input image."""

    workflow: Workflow
    outputs: tuple[OutputShape, ...]
    source_sha256: str | None


@dataclass(frozen=True, slots=True)
class JobEnd:
    service_s: float
    error_code: str | None = None
    error_message: str | None = None


class Jobs:
    """All jobs of all accounts, and the prices of new ones."""

    def __init__(self, context: WorldContext, saved: Iterable[Job]) -> None:
        self._context = context
        self._jobs = {job.job_id: job for job in saved}
        self._by_key = {
            (job.account_id, job.idempotency_key): job.job_id
            for job in self
            if job.idempotency_key is not None
        }
        self._accepted = Counter(job.workflow_id for job in self)
        self._free_at = [0.0] * context.config.runners
        """The moment when each runner falls free."""
        for job in self:
            # A state file may come from a sandbox with more runners: their work is shared out among
            # these.
            runner = job.runner % context.config.runners
            self._free_at[runner] = max(self._free_at[runner], job.finished_at)
        self._due = [(job.booked_at, job.job_id) for job in self if not job.settled]
        heapq.heapify(self._due)
        self.prices: dict[str, Decimal] = dict(context.config.prices)
        self.pricing: Mapping[str, Pricing] = context.config.pricing

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def price(self, resolved: ResolvedOrder, params: Params, now: float) -> Decimal:
        """Return what the next job costs: what its workflow's pricing makes of the base price."""
        workflow, earlier = resolved.workflow, self._accepted[resolved.workflow.workflow_id]
        base = self.prices.get(workflow.workflow_id, workflow.price)
        purchase = Purchase(
            earlier=earlier,
            elapsed_s=now - self._context.began,
            luck=chance(self._context.config.seed, "price", workflow.workflow_id, earlier),
            pixels=resolved.outputs[0].width * resolved.outputs[0].height,
            steps=steps(workflow, params),
        )
        return self.pricing.get(workflow.workflow_id, FIXED).price(base, purchase)

    def earlier(self, account_id: str, order: Order) -> Job | None:
        """Find the job that the order's key already bought.

        Raises RefusedError (400) if that was another order.
        """
        if not order.idempotency_key:
            return None
        job_id = self._by_key.get((account_id, order.idempotency_key))
        if job_id is None:
            return None
        job = self._jobs[job_id]
        if job.fingerprint != order.fingerprint():
            raise KeyReusedError
        return job

    def find(self, job_id: str) -> Job:
        """Find a job of any account. Raises RefusedError (404)."""
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found("Job", "JOB_NOT_FOUND")
        return job

    def get(self, account_id: str, job_id: str) -> Job:
        """Find a job of an account. Raises RefusedError (404)."""
        job = self.find(job_id)
        if job.account_id != account_id:
            raise not_found("Job", "JOB_NOT_FOUND")
        return job

    def accept(self, account_id: str, order: Order, resolved: ResolvedOrder, now: float) -> Job:
        """Reserve the price and put the job into the queue. Raises RefusedError (402)."""
        price = self.price(resolved, order.params, now)
        stated = self.pricing.get(order.workflow_id, FIXED)
        self._context.ledger.require(account_id, price)
        end = self._end_of(resolved.workflow, order.params)
        refund, refund_after_s, black = None, 0.0, False
        if end.error_code:
            refund, refund_after_s = self._refund_of(price)
        else:
            black = self._context.faults.draw("generate", Stage.PICTURE) is not None
        # A first-come queue with known service times needs no simulation: a job's start and end
        # follow from who falls free first.
        runner = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        started_at = max(now, self._free_at[runner])
        self._free_at[runner] = started_at + end.service_s
        job = Job(
            job_id=self._context.ids.next(),
            account_id=account_id,
            workflow_id=order.workflow_id,
            params=order.params,
            idempotency_key=order.idempotency_key,
            fingerprint=order.fingerprint(),
            price=price,
            submitted_at=now,
            started_at=started_at,
            finished_at=self._free_at[runner],
            runner=runner,
            error_code=end.error_code,
            error_message=end.error_message,
            outputs=resolved.outputs,
            source_sha256=resolved.source_sha256,
            answer_price=stated.answer,
            record_price=stated.record,
            refund=refund,
            refund_after_s=refund_after_s,
            black=black,
        )
        self._put(job)
        self._accepted[job.workflow_id] += 1
        if job.idempotency_key is not None:
            self._by_key[account_id, job.idempotency_key] = job.job_id
        heapq.heappush(self._due, (job.booked_at, job.job_id))
        self._context.ledger.post(
            account_id, "reserve", price, now, description=order.workflow_id, job_id=job.job_id
        )
        return job

    def settle(self, now: float) -> None:
        """Book the jobs that have ended.

        They are booked in the order and at the time of their ends, or of their late refunds.
        """
        while self._due and self._due[0][0] <= now:
            booked_at, job_id = heapq.heappop(self._due)
            job = replace(self._jobs[job_id], settled=True)
            self._put(job)
            if job.last_entry is None:
                continue
            entry_type, amount = job.last_entry
            self._context.ledger.post(
                job.account_id,
                entry_type,
                amount,
                booked_at,
                description=job.workflow_id,
                job_id=job_id,
            )

    def _put(self, job: Job) -> None:
        self._jobs[job.job_id] = job
        self._context.changes.append(job)

    def _refund_of(self, price: Decimal) -> tuple[Decimal | None, float]:
        """Return what comes back of a failed job's price, and how many seconds after its end.

        None stands for the complete price.
        """
        config = self._context.config
        match self._context.faults.draw("generate", Stage.REFUND):
            case "refund-late":
                return None, config.refund_late_s
            case "refund-partial":
                return round(price * config.partial_refund, 6), 0.0
            case "refund-missing":
                return Decimal(0), 0.0
            case _:
                return None, 0.0

    def _end_of(self, workflow: Workflow, params: Params) -> JobEnd:
        shortest, longest = workflow.service_s
        luck = chance(self._context.config.seed, "service", len(self._jobs))
        service_s = (shortest + (longest - shortest) * luck) * self._context.config.time_scale
        fault = self._context.faults.draw("generate", Stage.JOB)
        words = re.findall(r"\w+", prompt(params).casefold())
        if fault == "moderate" or _REFUSED_WORD in words:
            return JobEnd(service_s, "MODERATION_REFUSED", "The prompt was refused by moderation.")
        if fault == "fail":
            return JobEnd(service_s, "GENERATION_FAILED", "The generation failed.")
        if fault == "slow-queue":
            service_s += self._context.config.slow_queue_s
        return JobEnd(service_s)

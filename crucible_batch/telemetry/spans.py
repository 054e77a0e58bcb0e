"""Spans of a run, from its progress messages: one for the run, one for each job, and one for each of its stages.

Nothing of a request is recorded: no URL, header, parameter or prompt. Of an error, only the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, Tracer, set_span_in_context

from crucible_batch.domain.events import Accepted, Held
from crucible_batch.domain.outcome import Outcome
from crucible_batch.domain.progress import JobAdvanced, Message, RunBegan, RunEnded, TakenUp
from crucible_batch.domain.tally import OUTCOME_OF_PHASE
from crucible_batch.telemetry.stages import StageTime, StageTracker

_Attributes: TypeAlias = dict[str, str | int | float | bool]

_RESULTS: Mapping[int, str] = {0: "success", 1: "failure", 130: "cancellation", 143: "cancellation"}
"""Values of ``cicd.pipeline.result`` by exit code; others are ``error``."""


@dataclass(slots=True)
class _OpenJob:
    """The spans of an active job. ``error`` is the code of its newest error."""

    span: Span
    context: Context
    stage: Span | None = None
    attempts: int = 0
    error: str | None = None


class RunSpans:
    """An observer that records spans. ``finish`` must be called at the end; memory is used for active jobs only.

    ``parent`` is the context of the span above that of the run; None: the current context. ``ended`` counts the spans
    that were given to the tracer's exporter.
    """

    def __init__(
        self, tracer: Tracer, manifest: str, run_id: str, began_at: float, parent: Context | None = None
    ) -> None:
        self._tracer = tracer
        self._tracker = StageTracker()
        self._jobs: dict[str, _OpenJob] = {}
        self.ended = 0
        attributes: _Attributes = {"cicd.pipeline.name": manifest, "cicd.pipeline.run.id": run_id}
        self._run = tracer.start_span(
            f"run {manifest}", context=parent, attributes=attributes, start_time=_ns(began_at)
        )
        self._context = set_span_in_context(self._run, Context())

    def notify(self, message: Message) -> None:
        match message:
            case TakenUp():
                self._track(message)
                self._jobs[message.identity].span.set_attribute("crucible.job.resumed", value=True)
            case JobAdvanced():
                self._advance(message)
            case RunBegan():
                self._run.set_attribute("crucible.run.jobs", message.total)
            case RunEnded():
                self._end_jobs(message.at)
                self._set_outcomes(message)
            case _:
                pass

    def finish(self, at: float, exit_code: int) -> None:
        """End all spans."""
        self._end_jobs(at)
        self._run.set_attribute("crucible.run.exit_code", exit_code)
        self._run.set_attribute("cicd.pipeline.result", _RESULTS.get(exit_code, "error"))
        if exit_code != 0:
            self._run.set_status(StatusCode.ERROR)
        self._end(self._run, at)

    def _advance(self, message: JobAdvanced) -> None:
        event = message.event
        error = getattr(event, "error", None)
        job = self._jobs.get(message.identity)
        if job is not None and error is not None:
            job.error = error.code
            if job.stage is not None:
                job.stage.set_status(StatusCode.ERROR)
                job.stage.set_attribute("error.type", error.code)
        job = self._track(message) or job
        if job is None and message.phase in OUTCOME_OF_PHASE and message.phase is not message.before:
            job = self._start_job(message)  # refused before anything was held for it
        if job is None:
            return
        if isinstance(event, Held):
            job.attempts = event.attempt
            job.span.set_attribute("gen_ai.request.model", event.price_class.partition(":")[2] or event.price_class)
        elif isinstance(event, Accepted):
            job.span.set_attributes(
                {
                    "crucible.job.id": event.job_id,
                    "crucible.job.credits": float(event.credits),
                    "crucible.job.reused": event.reused,
                }
            )
        if job.error is None and error is not None:
            job.error = error.code
        if job.stage is not None and job.attempts:
            job.stage.set_attribute("crucible.job.attempt", job.attempts)
        if message.phase in OUTCOME_OF_PHASE:
            self._end_job(message.identity, message.at, OUTCOME_OF_PHASE[message.phase])

    def _track(self, message: TakenUp | JobAdvanced) -> _OpenJob | None:
        """End and start the spans of stages, and start that of the job. Return it if it is active."""
        ended, began = self._tracker.take(message)
        job = self._jobs.get(message.identity)
        if ended is not None and job is not None:
            self._end_stage(job, ended)
        if began is not None:
            job = job or self._start_job(message)
            job.stage = self._tracer.start_span(began.stage.value, context=job.context, start_time=_ns(began.began_at))
        return job

    def _start_job(self, message: TakenUp | JobAdvanced) -> _OpenJob:
        # The name is an attribute and not the name of the span, by which tools group spans.
        attributes: _Attributes = {"crucible.job.name": message.name, "crucible.job.identity": message.identity}
        span = self._tracer.start_span("job", context=self._context, attributes=attributes, start_time=_ns(message.at))
        self._jobs[message.identity] = job = _OpenJob(span, set_span_in_context(span, Context()))
        return job

    def _end_stage(self, job: _OpenJob, time: StageTime) -> None:
        if job.stage is not None:
            self._end(job.stage, max(time.began_at, time.ended_at or time.began_at))
            job.stage = None

    def _end_job(self, identity: str, at: float, outcome: Outcome) -> None:
        job = self._jobs.pop(identity)
        job.span.set_attribute("crucible.job.outcome", outcome.value)
        if job.attempts:
            job.span.set_attribute("crucible.job.attempts", job.attempts)
        if outcome is not Outcome.SUCCEEDED and job.error is not None:
            job.span.set_status(StatusCode.ERROR)
            job.span.set_attribute("error.type", job.error)
        self._end(job.span, at)

    def _end_jobs(self, at: float) -> None:
        """End the spans of the jobs that the run leaves in flight."""
        for identity, time in self._tracker.end(at):
            if (job := self._jobs.get(identity)) is not None:
                self._end_stage(job, time)
        for identity in list(self._jobs):
            self._end_job(identity, at, Outcome.PENDING)

    def _set_outcomes(self, message: RunEnded) -> None:
        balance = message.balance
        counts = {f"crucible.run.jobs.{outcome.value}": message.counts.get(outcome, 0) for outcome in Outcome}
        amounts = {"spent": balance.spent, "held": balance.held, "budget": balance.budget}
        known = {f"crucible.credits.{name}": float(amount) for name, amount in amounts.items() if amount is not None}
        self._run.set_attributes({**counts, **known, "crucible.run.status": message.ending.status.value})

    def _end(self, span: Span, at: float) -> None:
        span.end(end_time=_ns(at))
        self.ended += span.get_span_context().trace_flags.sampled


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)

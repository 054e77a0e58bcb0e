"""Spans of a run, as an exporter receives them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from crucible_batch.domain.events import Accepted, Relocated
from crucible_batch.domain.job import Phase
from crucible_batch.domain.progress import Message
from crucible_batch.telemetry.spans import RunSpans
from tests.case_table import each_case

from .messages import (
    accepted,
    began,
    declined,
    ended,
    failed,
    held,
    interleaved,
    listed,
    made,
    moved,
    refused,
    resumed,
    saved,
    whole_job,
)


class Recorded:
    """The spans of one run after its end."""

    def __init__(self, messages: Iterable[Message], *, code: int = 0) -> None:
        exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        self.observer = RunSpans(provider.get_tracer("test"), "night", "2026-11-26", 90.0)
        for message in messages:
            self.observer.notify(message)
        self.observer.finish(1000.0, code)
        self.spans = exporter.get_finished_spans()
        provider.shutdown()

    @property
    def run(self) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.parent is None]
        return found

    @property
    def jobs(self) -> dict[str, ReadableSpan]:
        assert self.run.context is not None
        found = [span for span in self.spans if _parent(span) == self.run.context.span_id]
        return {str(_attributes(span)["crucible.job.name"]): span for span in found}

    def stages(self, job: str) -> list[tuple[str, float, float]]:
        context = self.jobs[job].context
        assert context is not None
        found = [span for span in self.spans if _parent(span) == context.span_id]
        return sorted(((span.name, *times(span)) for span in found), key=lambda stage: stage[1])


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def times(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def test_a_run_has_a_span_each_job_below_it_and_each_stage_below_that() -> None:
    recorded = Recorded([began(91, 2), *interleaved([whole_job("a", 100), whole_job("b", 110)]), ended(160)])
    assert times(recorded.run) == (90, 1000)
    assert {name: times(span) for name, span in recorded.jobs.items()} == {"a": (100, 139), "b": (110, 149)}
    assert recorded.stages("a") == [
        ("upload", 100, 101), ("submit", 101, 103), ("wait", 103, 133), ("download", 133, 137),
    ]  # fmt: skip
    assert len(recorded.spans) == 1 + 2 * 5
    assert recorded.observer.ended == len(recorded.spans)


def test_the_attributes_of_a_job() -> None:
    job = Recorded([began(91, 1), *whole_job("a"), ended(160)]).jobs["a"]
    assert job.name == "job"
    assert _attributes(job) == {
        "crucible.job.name": "a",
        "crucible.job.identity": "id-a",
        "crucible.job.id": "job-a",
        "crucible.job.credits": 2.0,
        "crucible.job.reused": False,
        "crucible.job.outcome": "succeeded",
        "crucible.job.attempts": 1,
        "gen_ai.request.model": "zimage-base",
    }
    assert job.status.status_code is StatusCode.UNSET


def test_the_attributes_of_a_run() -> None:
    found = _attributes(Recorded([began(91, 3), ended(160, spent="2.5", held=1, succeeded=2, failed=1)], code=1).run)
    assert found["cicd.pipeline.name"] == "night"
    assert found["cicd.pipeline.run.id"] == "2026-11-26"
    assert found["crucible.run.jobs"] == 3
    assert (found["crucible.run.jobs.succeeded"], found["crucible.run.jobs.failed"]) == (2, 1)
    assert (found["crucible.credits.spent"], found["crucible.credits.held"]) == (2.5, 1.0)
    assert found["crucible.credits.budget"] == 20.0
    assert found["crucible.run.exit_code"] == 1


@each_case(
    "code, result",
    [(0, "success"), (1, "failure"), (2, "error"), (4, "error"), (5, "error"), (130, "cancellation"),
     (143, "cancellation")],
)  # fmt: skip
def test_the_result_of_a_run_by_its_exit_code(code: int, result: str) -> None:
    run = Recorded([], code=code).run
    assert _attributes(run)["cicd.pipeline.result"] == result
    assert (run.status.status_code is StatusCode.ERROR) is (code != 0)


def test_each_attempt_has_its_stages_below_the_same_job() -> None:
    again = [held("a", 100), accepted("a", 101), failed("a", 105, is_last=False), held("a", 106, 2), accepted("a", 107)]
    recorded = Recorded([began(91, 1), *again, made("a", 110), saved("a", 111), listed("a", 113), ended(160)])
    assert [name for name, _, _ in recorded.stages("a")] == ["submit", "wait", "submit", "wait", "download"]
    attempts = [_attributes(span).get("crucible.job.attempt") for span in recorded.spans if span.name == "submit"]
    assert attempts == [1, 2]
    waits = [span for span in recorded.spans if span.name == "wait"]
    assert [span.status.status_code for span in waits] == [StatusCode.ERROR, StatusCode.UNSET]
    job = recorded.jobs["a"]
    assert (job.status.status_code, _attributes(job)["crucible.job.attempts"]) == (StatusCode.UNSET, 2)
    assert "error.type" not in _attributes(job), "it succeeded in the end"


def test_a_failed_job_has_its_code_and_not_the_message() -> None:
    recorded = Recorded([began(91, 1), held("a", 100), refused("a", 101), ended(160)], code=1)
    job = recorded.jobs["a"]
    assert job.status.status_code is StatusCode.ERROR
    assert _attributes(job)["error.type"] == "MODERATION_REFUSED"
    assert _attributes(job)["crucible.job.outcome"] == "failed"
    assert "secret fox" not in "".join(span.to_json() for span in recorded.spans)


def test_a_job_that_is_refused_before_anything_was_held_has_a_span() -> None:
    recorded = Recorded([began(91, 1), refused("a", 101, Phase.READY), ended(160)], code=1)
    assert times(recorded.jobs["a"]) == (101, 101)
    assert _attributes(recorded.jobs["a"])["error.type"] == "MODERATION_REFUSED"


def test_a_blocked_job_has_no_span_unless_it_was_sent() -> None:
    recorded = Recorded([began(91, 3), held("a", 100), declined("a", 101), ended(160, blocked=3)], code=4)
    assert set(recorded.jobs) == {"a"}
    assert times(recorded.jobs["a"]) == (100, 160)
    assert _attributes(recorded.jobs["a"])["crucible.job.outcome"] == "pending"
    assert _attributes(recorded.run)["crucible.run.jobs.blocked"] == 3


def test_a_resumed_job_begins_with_its_resumption() -> None:
    recorded = Recorded([began(91, 1), resumed(92, "a", Phase.IN_FLIGHT, since=10), made("a", 95), ended(160)])
    job = recorded.jobs["a"]
    assert times(job) == (92, 160)
    assert _attributes(job)["crucible.job.resumed"] is True
    assert recorded.stages("a") == [("wait", 92, 95), ("download", 95, 160)]


def test_a_run_that_is_stopped_ends_all_its_spans() -> None:
    recorded = Recorded([began(91, 2), held("a", 100), held("b", 101), accepted("b", 102)], code=143)
    assert times(recorded.jobs["a"]) == (100, 1000)
    assert recorded.stages("b") == [("submit", 101, 102), ("wait", 102, 1000)]


def test_what_happens_to_a_finished_job_later_makes_no_span() -> None:
    aside = moved("a", Relocated(at=95, index=0, path="b"), Phase.SUCCEEDED, Phase.SUCCEEDED)
    assert Recorded([began(91, 1), aside, ended(160)]).jobs == {}


def test_credits_of_a_job_that_was_found_are_marked() -> None:
    found = Accepted(at=101, job_id="j", credits=Decimal(2), reused=True)
    recorded = Recorded(
        [began(91, 1), held("a", 100), moved("a", found, Phase.SUBMITTING, Phase.IN_FLIGHT), ended(160)]
    )
    assert _attributes(recorded.jobs["a"])["crucible.job.reused"] is True


def test_memory_is_used_for_active_jobs_only() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    observer = RunSpans(provider.get_tracer("test"), "night", "default", 1.0)
    for number in range(1000):
        for message in whole_job(f"j{number}"):
            observer.notify(message)
        assert not observer._jobs
    assert observer._tracker._current == {}
    assert observer.ended == 5000

"""Whether a run has a trace, and that no failure of its export reaches the run."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from crucible_batch.errors import UserError
from crucible_batch.telemetry import trace_choice, tracing
from crucible_batch.telemetry.trace_choice import exporter_names, traces_wanted
from crucible_batch.telemetry.tracing import RunTrace, create_exporter
from tests.case_table import each_case

from .messages import began, ended, whole_job

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@each_case(
    "choice, environ, wanted",
    [
        (None, {}, False),
        (True, {}, True),
        (False, ENDPOINT, False),
        (None, ENDPOINT, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (None, {"OTEL_TRACES_EXPORTER": "console"}, True),
        (None, {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        (None, {**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        (True, {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (True, {"OTEL_TRACES_EXPORTER": "none"}, True),
    ],
)
def test_a_run_has_a_trace_if_the_option_or_the_environment_asks_for_it(
    choice: bool | None, environ: dict[str, str], wanted: bool
) -> None:
    assert traces_wanted(choice, environ) is wanted


def test_without_the_extra_the_option_is_an_error_and_the_environment_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace_choice, "find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        traces_wanted(True, {})
    assert "pip install 'crucible-batch[otel]'" in (caught.value.hint or "")
    with caplog.at_level(logging.INFO, logger="crucible_batch"):
        assert traces_wanted(None, ENDPOINT) is False
    assert "crucible-batch[otel]" in caplog.text


@each_case(
    "environ, names",
    [
        ({}, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "none"}, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": " OTLP, console"}, ["otlp_proto_http", "console"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
         ["otlp_proto_http"]),
    ],
)  # fmt: skip
def test_the_exporters_are_those_of_the_standard_variables(environ: dict[str, str], names: list[str]) -> None:
    assert exporter_names(environ) == names


def test_an_exporter_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="'zipkin' is not installed"):
        create_exporter("zipkin")
    with pytest.raises(UserError, match="'otlp_proto_grpc' is not installed"):
        create_exporter("otlp_proto_grpc")


def test_an_error_of_an_exporter_does_not_show_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def load(self) -> None:
            raise ValueError("headers: authorization=sesame")

    monkeypatch.setattr(tracing, "entry_points", lambda **_: [Refusing()])
    with pytest.raises(UserError, match="ValueError") as caught:
        create_exporter("otlp_proto_http")
    assert "sesame" not in "".join(traceback.format_exception(caught.value))
    assert "OTEL_EXPORTER_" in (caught.value.hint or "")


def trace(*exporters: SpanExporter, environ: dict[str, str] | None = None) -> RunTrace:
    return RunTrace("night", "2026-11-26", 90.0, environ=environ or {}, exporters=exporters)


async def test_all_spans_are_exported_at_the_end() -> None:
    exporter = InMemorySpanExporter()
    recorded = trace(exporter)
    for message in (began(91, 1), *whole_job("a"), ended(160)):
        recorded.spans.notify(message)
    recorded.spans.finish(161, 0)
    await recorded.close()
    spans = exporter.get_finished_spans()
    assert len(spans) == 6
    assert {span.resource.attributes["service.name"] for span in spans} == {"crucible-batch"}
    assert recorded.lost == 0


async def test_the_service_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "studio")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    exporter = InMemorySpanExporter()
    recorded = trace(exporter)
    recorded.spans.finish(161, 0)
    await recorded.close()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == "studio"
    assert span.resource.attributes["deployment.environment.name"] == "prod"


async def test_the_run_is_below_the_span_of_the_caller() -> None:
    """As a CI system passes it on."""
    exporter = InMemorySpanExporter()
    recorded = trace(exporter, environ={"TRACEPARENT": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    recorded.spans.finish(161, 0)
    await recorded.close()
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:x}", f"{span.parent.span_id:x}") == ("ab" * 16, "cd" * 8)


class Broken(SpanExporter):
    """An exporter that raises."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("authorization=sesame")

    def shutdown(self) -> None:
        raise RuntimeError("authorization=sesame")


class Refused(SpanExporter):
    """An exporter whose collector refuses everything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE


async def test_spans_that_the_collector_refuses_are_counted() -> None:
    recorded = trace(Refused())
    recorded.spans.finish(161, 0)
    await recorded.close()
    assert recorded.lost == 1


class Hanging(SpanExporter):
    """An exporter whose collector accepts a connection and never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(60)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.released.wait(60)


async def test_an_exporter_that_raises_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    recorded = trace(Broken())
    for message in (began(91, 1), *whole_job("a"), ended(160)):
        recorded.spans.notify(message)
    recorded.spans.finish(161, 0)
    with caplog.at_level(logging.WARNING):
        await recorded.close()
    assert "6 of 6 spans of the trace were not accepted" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_collector_that_does_not_answer_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Hanging()
    recorded = trace(exporter)
    recorded.spans.finish(161, 0)
    began_at = time.monotonic()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await recorded.close(timeout_s=0.2)
    ticking.cancel()
    assert time.monotonic() - began_at < 20, "the exporter would wait a minute"
    assert ticks > 0, "the event loop was free"
    assert "1 of 1 spans" in caplog.text
    exporter.released.set()


async def test_a_queue_that_is_full_loses_spans_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    exporter = Hanging()
    recorded = trace(exporter, environ={"OTEL_BSP_MAX_QUEUE_SIZE": "20"})
    for number in range(50):
        for message in whole_job(f"j{number}"):
            recorded.spans.notify(message)
    recorded.spans.finish(161, 0)
    await recorded.close(timeout_s=0.1)
    assert recorded.lost == 251
    exporter.released.set()

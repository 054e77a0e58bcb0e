"""The export of spans by OpenTelemetry. The end of a run waits for it for a few seconds at most."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from crucible_batch import __version__
from crucible_batch.errors import UserError
from crucible_batch.telemetry.spans import RunSpans
from crucible_batch.telemetry.trace_choice import EXPORTERS, INSTALL, exporter_names

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S: Final = 5.0
"""How long the end of a run waits for the collector."""
_QUEUE_VARIABLE = "OTEL_BSP_MAX_QUEUE_SIZE"
_QUEUE: Final = 4096
"""Spans that wait for the collector, at most, unless the variable is set. Further ones are dropped."""
_GROUP = "opentelemetry_traces_exporter"


def create_exporter(name: str) -> SpanExporter:
    """Create an exporter by its registered name; it reads its own variables. Raises ``UserError`` if it can't be."""
    found = list(entry_points(group=_GROUP, name=name))
    if not found:
        known = ", ".join(sorted({each.name for each in entry_points(group=_GROUP)}))
        advice = INSTALL if name == "otlp_proto_http" else f"install its package, or set {EXPORTERS} to one of: {known}"
        raise UserError(f"the exporter of traces {name[:100]!r} is not installed", hint=f"{advice}; nothing was spent")
    try:
        kind = found[0].load()
        exporter: SpanExporter = kind(out=sys.stderr) if name == "console" else kind()
    except Exception as error:  # noqa: BLE001 - of any package; its text may contain the headers of the exporter, which are secrets
        raise UserError(
            f"the exporter of traces {name!r} can't be created: {type(error).__name__}",
            hint="check the variables that begin with OTEL_EXPORTER_; nothing was spent",
        ) from None
    return exporter


def parent_context(environ: Mapping[str, str]) -> Context:
    """Return the context of the span above a run: that of ``TRACEPARENT`` (W3C), otherwise the current one."""
    carrier = {name.lower(): environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in environ}
    return TraceContextTextMapPropagator().extract(carrier, context=get_current())


def _resource() -> Resource:
    """Return the description of this program, except for what the standard variables set."""
    given = OTELResourceDetector().detect().attributes
    ours = {"service.name": "crucible-batch", "service.version": __version__}
    return Resource.create({name: value for name, value in ours.items() if name not in given})


class _CountedExporter(SpanExporter):
    """Counts the spans that an exporter has sent. Its failures must not reach the run."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.sent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - of any package; what is lost is counted
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        return result

    def shutdown(self) -> None:
        with contextlib.suppress(Exception):
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class RunTrace:
    """The trace of one run, and its export in threads of its own. ``spans`` is the observer.

    Raises ``UserError`` if an exporter that the environment names can't be created.
    """

    def __init__(
        self,
        manifest: str,
        run_id: str,
        began_at: float,
        *,
        environ: Mapping[str, str] = os.environ,
        exporters: Sequence[SpanExporter] | None = None,
    ) -> None:
        chosen = [create_exporter(name) for name in exporter_names(environ)] if exporters is None else exporters
        self._exporters = [_CountedExporter(each) for each in chosen]
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        queue = None if environ.get(_QUEUE_VARIABLE) else _QUEUE
        for exporter in self._exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=queue))
        tracer = self._provider.get_tracer("crucible_batch", __version__)
        self.spans = RunSpans(tracer, manifest, run_id, began_at, parent_context(environ))

    @property
    def lost(self) -> int:
        """The number of ended spans that a collector has not accepted."""
        return max((self.spans.ended - each.sent for each in self._exporters), default=0)

    async def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Send the spans that are left, for ``timeout_s`` seconds at most. What is lost is logged."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            with contextlib.suppress(Exception):
                self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="trace-export", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await done.wait()
        if self.lost > 0:
            logger.warning(
                "%d of %d spans of the trace were not accepted by the collector; check the variables that begin with"
                " OTEL_EXPORTER_",
                self.lost,
                self.spans.ended,
            )

"""The options of ``run`` for metrics and traces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_telemetry = partial(typer.Option, rich_help_panel="Metrics and traces")


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """Where the metrics and the trace of a run are written."""

    metrics_textfile: Annotated[
        Path | None,
        _telemetry(
            "--metrics-textfile",
            metavar="DIR",
            envvar="CRUCIBLE_BATCH_METRICS_TEXTFILE",
            show_envvar=False,
            help="Write crucible-batch-NAME.prom to DIR at the end, for Prometheus' textfile collector."
            "  \\[default: CRUCIBLE_BATCH_METRICS_TEXTFILE]",
        ),
    ] = None
    metrics_listen: Annotated[
        str | None,
        _telemetry(
            "--metrics-listen",
            metavar="ADDRESS",
            help="Serve metrics during the run: 9464 or 127.0.0.1:9464. Other hosts can read them only if ADDRESS has"
            " an address that they can reach.",
        ),
    ] = None
    traces: Annotated[
        bool | None,
        _telemetry(
            "--traces/--no-traces",
            help="Export a trace with OpenTelemetry, configured by its OTEL_ variables.  \\[default: if they are set]",
            show_default=False,
        ),
    ] = None

"""Whether a run has traces, and which exporters send them. Imports no OpenTelemetry, which may be missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from crucible_batch.errors import UserError

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTERS: Final = "OTEL_TRACES_EXPORTER"
INSTALL: Final = "install it: pip install 'crucible-batch[otel]'"


def traces_wanted(choice: bool | None, environ: Mapping[str, str]) -> bool:
    """Return whether a run has traces. ``choice`` is the caller's; None: by OpenTelemetry's standard variables.

    These count only if OpenTelemetry is installed, since they may be set for all programs of a machine. Raises
    ``UserError`` if the caller wants traces and it is not.
    """
    if choice is False or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if choice is None and not _is_asked_for(environ):
        return False
    is_installed = find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None
    if choice and not is_installed:
        raise UserError("traces need OpenTelemetry, which is not installed", hint=f"{INSTALL}; nothing was spent")
    if not is_installed:
        logger.info("variables of OpenTelemetry are set, and it is not installed: no traces; to have them, %s", INSTALL)
    return is_installed


def _is_asked_for(environ: Mapping[str, str]) -> bool:
    chosen = environ.get(EXPORTERS, "").strip().lower()
    return chosen != "none" and bool(chosen or any(environ.get(name, "").strip() for name in _ENDPOINTS))


def exporter_names(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the exporters by ``OTEL_TRACES_EXPORTER``, as their packages register them."""
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    otlp = "otlp_proto_grpc" if protocol.strip().lower() == "grpc" else "otlp_proto_http"
    given = [name.strip().lower() for name in environ.get(EXPORTERS, "").split(",")]
    names = [name for name in given if name not in {"", "none"}] or ["otlp"]
    return [otlp if name == "otlp" else name for name in names]

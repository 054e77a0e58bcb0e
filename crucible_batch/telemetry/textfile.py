"""Metrics in a file for the textfile collector of Prometheus' node exporter: one file for each manifest."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from prometheus_client import write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.errors import UserError
from crucible_batch.telemetry.figures import RunFigures
from crucible_batch.telemetry.metrics import LAST_SUCCESS, MANIFEST, registry_of

logger = logging.getLogger(__name__)


def textfile_path(directory: Path, manifest: str) -> Path:
    """Return the file of a manifest. The prefix prevents that it replaces a file of another program."""
    return directory / f"crucible-batch-{manifest}.prom"


def check_directory(directory: Path) -> None:
    """Raise ``UserError`` unless files can be written in the directory."""
    hint = "name the directory that the node exporter reads: --metrics-textfile DIR; nothing was spent"
    if not directory.is_dir():
        raise UserError(f"the directory for metrics, {directory}, does not exist or is not a directory", hint=hint)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UserError(f"the directory for metrics, {directory}, is not writable", hint=hint)


def write_textfile(path: Path, manifest: str, figures: RunFigures) -> None:
    """Replace the file with the metrics of a finished run; an earlier file's last success is kept if it failed.

    The run is over, so an error is only logged.
    """
    if figures.exit_code != 0:  # read again: another run of the manifest may have succeeded since the start
        figures.succeeded_at = read_last_success(path, manifest)
    try:
        write_to_textfile(str(path), registry_of(manifest, figures))
    except OSError as error:
        logger.warning("the metrics were not written: %s: %s", path, error.strerror or error)


def read_last_success(path: Path, manifest: str) -> float | None:
    """Return the time of the last success in a file; None if it has no such time or can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("the last success is not known: %s can't be read: %s", path, error)
        return None
    found = [each.value for each in samples if each.name == LAST_SUCCESS and each.labels.get(MANIFEST) == manifest]
    return found[0] if found and found[0] > 0 else None

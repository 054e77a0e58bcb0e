"""Reconstruction of jobs and assets from the journal's rows.

A job whose events are contradictory is marked as unreadable, and the run continues without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from crucible_batch.core.asset import Asset, evolve_asset
from crucible_batch.core.events import AssetEvent
from crucible_batch.core.job import Job, Phase, replay
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal.event_codec import decode_event

_MOST_TOLD = 10
_told: dict[Path, set[str]] = {}
"""The unreadable jobs already logged, by journal: a command reads the same journal several
times."""

logger = logging.getLogger(__name__)


def job_of(
    journal: Path, planned: PlannedJob, rows: Iterable[tuple[object, object]], rule: RetryRule
) -> Job:
    """Return a job in the state after its events, given by type and body.

    An unreadable one is logged once. Raises ``JournalError`` for an event that can't be decoded.
    """
    job = Job(planned.identity, has_images=bool(planned.images), rule=rule)
    if planned.obstacle is not None:
        return replace(job, phase=Phase.BLOCKED, error=planned.obstacle)
    job = replay(job, [decode_event(kind, body) for kind, body in rows])
    if job.phase is Phase.UNREADABLE:
        _tell(journal, planned, job)
    return job


def asset_of(sha256: str, rows: Iterable[tuple[object, object]]) -> Asset:
    """Return an asset in the state after its events; events of jobs are ignored."""
    asset = Asset(sha256)
    for kind, body in rows:
        event = decode_event(kind, body)
        if isinstance(event, AssetEvent):
            asset = evolve_asset(asset, event)
    return asset


def _tell(journal: Path, planned: PlannedJob, job: Job) -> None:
    told = _told.setdefault(journal, set())
    if job.error is None or planned.identity in told or len(told) >= _MOST_TOLD:
        return
    told.add(planned.identity)
    logger.warning("job %s: %s; %s", clean(planned.name), job.error.message, job.error.hint)
    if len(told) == _MOST_TOLD:
        logger.warning(
            "there may be more such jobs; report.json lists them with the code %s", job.error.code
        )

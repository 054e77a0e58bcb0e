"""The audit of a run directory: its journal compared with the gateway's ledger.

Buys and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx

from crucible_batch.core.audit_claims import (
    JobClaim,
    has_unanswered_submit,
    job_claims,
    upload_claims,
)
from crucible_batch.core.credits import ZERO
from crucible_batch.core.gateway_types import Account, AssetStatus
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_statement import Statement
from crucible_batch.core.prices import UPLOAD
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.errors import ExitCode, RunDirectoryError
from crucible_batch.features.check.audit import Audit, JournalClaims, audit
from crucible_batch.features.check.verifying import UnsavedOutputs, unsaved
from crucible_batch.journal import Journal, RunRecord, is_locked
from crucible_batch.runs.account import refuse_other_account
from crucible_batch.runs.connecting import current_settings, gateway_for, require_key
from crucible_batch.runs.run_journal import jobs_with_past, ledger_of, local_directory
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The result of an audit.

    ``running`` is true if a run holds the directory's lock: jobs in flight may still change.
    ``unsaved`` are the jobs for which the gateway lists more outputs than were saved.
    """

    run_dir: Path
    manifest_name: str
    run_id: str
    running: bool
    audit: Audit
    unsaved: tuple[UnsavedOutputs, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are no differences and no unsaved outputs.

        Purchases from before the oldest entry of the gateway's ledger can't be compared.
        """
        return not self.audit.differences and not self.unsaved

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.OK if self.ok else ExitCode.DIFFERENCE


async def check_ledger(
    run_dir: str | Path,
    *,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    look_for_unsaved: bool = True,
    clock: Callable[[], float] = time.time,
) -> AuditResult:
    """Compare a run directory's journal with the gateway's ledger, assets and output lists.

    Sends one request for each job that has succeeded, unless ``look_for_unsaved`` is false. May be
    called while a run is active. ``clock`` returns seconds since the epoch.

    Differences raise no exception: see ``ok``, ``exit_code`` and ``audit.differences`` of the
    result. Raises ``RunDirectoryError`` if the directory is not a run directory or belongs to
    another gateway or account, ``KeyRefusedError``, ``GatewayError`` and ``JournalError``.
    """
    settings = settings or current_settings()
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        _refuse_other_gateway(journal, directory, settings.gateway)
        async with gateway_for(settings, transport=transport) as gateway:
            await refuse_other_account(journal, gateway, require_key(settings))
            running = is_locked(directory)
            asked_at = clock()
            # The ledger is read before the journal: events recorded in between are then known, by
            # the local clock, to be newer than the ledger.
            account = await gateway.account()
            assets = await gateway.assets()
            missing: tuple[UnsavedOutputs, ...] = ()
            if look_for_unsaved:
                jobs = jobs_with_past(journal)
                missing = tuple([found async for found in unsaved(gateway, jobs)])
        present = {asset.asset_id for asset in assets if asset.status is not AssetStatus.DELETED}
        found = audit(
            _read(journal), _statement(journal, account, asked_at), present, asked_at=asked_at
        )
        bound = journal.binding()
    return AuditResult(directory, bound.manifest_name, bound.run_id, running, found, missing)


def _refuse_other_gateway(journal: Journal, directory: Path, base_url: str) -> None:
    bound = journal.binding().gateway
    if bound != base_url:
        raise RunDirectoryError(
            f"{directory} belongs to the gateway {bound}, and the settings name {base_url}",
            hint=f"crucible-batch check {directory} --api-base {bound}",
        )


def _statement(journal: Journal, account: Account, asked_at: float) -> Statement:
    """Return what the gateway's ledger shows now, and what the runs of the directory saw of it."""
    coverages = journal.ledger_coverages()
    if coverages:
        coverages.append(coverages[-1].after(LedgerCoverage.of(account.entries, asked_at)))
    return Statement(account.entries, journal.ledger_entries(), coverages)


def _read(journal: Journal) -> JournalClaims:
    rule = RetryRule(attempts=1)  # only decides about retries, which the audit doesn't use
    jobs: list[JobClaim] = []
    names: dict[str, str] = {}
    without_answer = 0
    for planned, job in chain(journal.jobs(rule), journal.retired()):
        jobs += job_claims(planned.name, job)
        names.update((image.spec.sha256, image.spec.filename) for image in planned.images.values())
        without_answer += has_unanswered_submit(job)
    return JournalClaims(
        jobs=jobs,
        uploads=upload_claims(journal.events(), names),
        runs=_times(journal.runs()),
        unanswered=without_answer,
        upload_price=ledger_of(journal).prices.expected(UPLOAD) or ZERO,
    )


def _times(runs: Sequence[RunRecord]) -> list[tuple[float, float | None]]:
    """Return the start and end of each run.

    A killed run ended when the next one began, at the latest.
    """
    next_starts = [*(run.started_at for run in runs[1:]), None]
    times = []
    for run, next_start in zip(runs, next_starts, strict=False):
        ended = run.finished_at
        if ended is None:
            ended = next_start
        times.append((run.started_at, ended))
    return times

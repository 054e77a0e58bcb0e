"""The jobs of a manifest's run: planned, compared with a saved plan, and agreed to."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ports import Derivation
from crucible_batch.core.redaction import clean
from crucible_batch.errors import ConsentError, GatewayError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import ObjectOutputStore, OutputStore
from crucible_batch.runs.chosen_jobs import with_choice
from crucible_batch.runs.connecting import require_key
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.divided_plans import claimed_journal
from crucible_batch.runs.draft import check_filter, fill_plan, run_terms
from crucible_batch.runs.journal_log import LoggedJournal
from crucible_batch.runs.later_jobs import LaterJobs, later_jobs
from crucible_batch.runs.log_part import LogPart
from crucible_batch.runs.object_runs import limits_of, open_store
from crucible_batch.runs.outstanding_shards import (
    refuse_directory_of_shard,
    refuse_if_divided,
    refuse_outstanding,
)
from crucible_batch.runs.parts import Parts
from crucible_batch.runs.plan_parts import PlanParts
from crucible_batch.runs.plan_rows import filled_in
from crucible_batch.runs.plan_summary import summarise
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import refuse_if_pruned, run_outputs_url
from crucible_batch.runs.run_log import MainLog
from crucible_batch.runs.saved_plans import PlanBasis, check_plan
from crucible_batch.runs.shard_notes import noted_shards
from crucible_batch.runs.start import RunKind, awaited_gateway
from crucible_batch.runs.workflows import plan_jobs

logger = logging.getLogger(__name__)

_MOST_WARNINGS = 10


def manifest_run(request: RunRequest, parts: Parts, plan_parts: PlanParts) -> RunKind:
    """Return the kind of a manifest's run.

    ``plan_parts`` are those of the plan that a person is asked about.
    """

    def store(directory: Path) -> OutputStore:
        return open_store(
            directory,
            run_outputs_url(request.out_dir, directory),
            is_shard=False,
            **limits_of(request),
        )

    log_part = LogPart()

    def source(context: RunContext) -> ManifestJobs:
        return ManifestJobs(context, plan_parts, log_part)

    return RunKind(
        parts.and_last(log_part), lambda manifest: run_terms(manifest, request), store, source
    )


class ManifestJobs:
    """The jobs of a manifest, as ``JobSource`` describes."""

    merge_command = None
    may_delete_images = True
    has_restored = False
    basis: PlanBasis

    def __init__(self, context: RunContext, plan_parts: PlanParts, log_part: LogPart) -> None:
        self.context = context
        self._plan_parts = plan_parts
        self._log_part = log_part
        self._log: MainLog | None = None
        self._later: LaterJobs | None = None

    def refuse(self) -> None:
        directory = self.context.directory
        refuse_if_pruned(directory)
        if isinstance(self.context.store, ObjectOutputStore):
            # Whether shards are out is known once the log is read.
            refuse_directory_of_shard(directory)
        else:
            refuse_if_divided(directory)

    async def plan(self, stack: AsyncExitStack, draft: PlanFile) -> HttpGateway:
        """Plan the jobs, and fill ``basis`` with the workflows and files used.

        Errors of the manifest are raised first, then missing consent, then a missing key or a
        gateway error.
        """
        context = self.context
        filled = filled_in(context.directory, context.manifest)
        self.basis = PlanBasis(
            context.manifest, context.terms, context.settings.gateway, filled=filled
        )
        cannot_ask = context.needs_consent and context.confirm is None
        try:
            if context.settings.api_key is None:
                await self._fill(draft, None)
                require_key(context.settings, context.manifest.path)
            gateway = await awaited_gateway(
                stack, context, lambda gateway: self._fill(draft, gateway), waits=not cannot_ask
            )
        except GatewayError:
            if cannot_ask:
                raise _no_consent() from None
            raise
        if cannot_ask:
            raise _no_consent()
        self._choose(draft)
        check_plan(self.context.request, self.basis, draft)
        check_filter(draft, context.request.job_filter, self._later)
        if not context.request.names:  # otherwise an earlier step of a probe has logged them
            _log_warnings(context.manifest, context.settings.ignored, self.basis.notes)
        return gateway

    def _choose(self, draft: PlanFile) -> None:
        request = with_choice(self.context.request, draft)
        self.context = replace(self.context, request=request)

    async def _fill(self, draft: PlanFile, gateway: HttpGateway | None) -> None:
        context = self.context
        draft.clear()
        self._later = await plan_jobs(
            draft,
            self.basis,
            gateway,
            context.deadline.check,
            directory=context.directory,
            request=context.request,
        )

    async def agree(self, draft: PlanFile, gateway: HttpGateway) -> None:
        context = self.context
        if not context.needs_consent or context.confirm is None:
            return
        summary = await summarise(
            draft,
            context.terms,
            context.directory,
            gateway,
            choice=context.request.choice,
            later=self._later,
        )
        summary = self._plan_parts.amended(summary, context.settings)
        if not context.confirm(replace(summary, left_s=context.deadline.left_s)):
            raise ConsentError("nothing was spent", hint="set a budget with --budget, or use --yes")

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        """Open the journal.

        One in an object store is made again of its log if another machine has continued it.
        """
        context = self.context
        async with claimed_journal(context.store, context.binding, context.clock) as claimed:
            journal, self._log = claimed
            self.has_restored = self._log is not None and self._log.has_restored
            refuse_outstanding(noted_shards(journal), context.directory)
            yield journal

    def plan_again(self, draft: PlanFile, journal: Journal) -> bool:
        if self._later is None:
            return False
        draft.clear()
        basis, store = self.basis, self.context.store
        manifest, run_id = basis.source, basis.terms.run_id
        request, directory = self.context.request, store.directory
        self._later = later_jobs(
            manifest, request, run_id, directory, journal=journal, url=store.url
        )
        fill_plan(draft, manifest, run_id, basis.workflows, later=self._later, filled=basis.filled)
        journal.adopt(draft)
        self._choose(draft)
        return True

    def derivation(self, journal: Journal) -> Derivation | None:
        if self._later is None:
            return None
        return self._later.derivation(journal)

    async def take_log(self, journal: Journal) -> LoggedJournal | None:
        if self._log is None:
            return None
        return await self._log.take(journal, self._log_part)

    def explain(self, error: ErrorInfo) -> ErrorInfo:
        return error


def _no_consent() -> ConsentError:
    return ConsentError(
        "no budget is set, and there is no terminal to ask for consent",
        hint="set a budget (budget.credits in the manifest, or --budget N), or use --yes",
    )


def _log_warnings(manifest: Manifest, ignored: str | None, notes: Sequence[str]) -> None:
    """Log the manifest's warnings (probable mistakes), ignored settings and ``notes``, before
    anything is spent."""
    if ignored:
        logger.warning("%s", clean(ignored))
    warnings = list(dict.fromkeys([*map(str, manifest.warnings), *notes]))
    for warning in warnings[:_MOST_WARNINGS]:
        logger.warning("%s", clean(warning))
    more = len(warnings) - _MOST_WARNINGS
    if more > 0:
        logger.warning(
            "%d more like these: crucible-batch validate %s", more, clean(str(manifest.path))
        )

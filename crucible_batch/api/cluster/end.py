"""The end of a run on a cluster, once, by its coordinator: unneeded images are deleted, and the end is notified."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace

from crucible_batch.api.cleaning import clean_quietly, decide_fates
from crucible_batch.api.cluster.coordinator import ClusterContext
from crucible_batch.api.notifying import notify_end
from crucible_batch.api.object_runs import publish_report, store_by
from crucible_batch.api.reporting import collect_rows, write_results
from crucible_batch.api.run_directory import open_for_repair
from crucible_batch.api.run_journal import directory_outputs_url, reopened
from crucible_batch.api.running import RunResult
from crucible_batch.api.shards.merging import MergeResult
from crucible_batch.api.shards.note import outstanding_shards
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.merging import SHARD_ABANDONED
from crucible_batch.domain.outcome import EVERYTHING, conclude, outcome_of
from crucible_batch.domain.prices import workflow_class
from crucible_batch.engine.run_control import DEADLINE_PASSED
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.report import RowFile
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

_NOT_RUN = ErrorInfo(
    SHARD_ABANDONED,
    "no shard of the last wave has run",
    hint="see the logs of the workers, and `crucible-batch cluster status`; then run the same command again",
)


async def wave_ended(context: ClusterContext, merged: MergeResult) -> RunResult:
    """Return the result of the last merge. If no shard of it has run, that is recorded as the end of the run."""
    if merged.report is not None and merged.merged:
        return RunResult(context.main, merged.report, merged.exit_code, None, merged.page, outputs_at=merged.outputs_at)
    return await asyncio.to_thread(stopped, context)


def stopped(context: ClusterContext) -> RunResult:
    """Record that the run was stopped although no shard has an ending with that reason, and write its report. Blocking.

    The reason is the deadline, if it has passed, or that no shard has run.
    """
    main, error = context.main, DEADLINE_PASSED if context.is_late else _NOT_RUN
    with lock_run_directory(main), reopened(main, now=context.clock.now()) as journal:
        number = journal.begin_run(context.terms, now=context.clock.now(), after=journal.last_number())
        stops = {EVERYTHING: error}
        jobs = journal.jobs(context.terms.rule)
        counts = Counter(outcome_of(job, workflow_class(planned.workflow_id), stops)[0] for planned, job in jobs)
        ending = conclude(counts, stops, {ExitCode.STOPPED})
        journal.end_run(number, ending, now=context.clock.now())
        head, page = write_results(journal, main, html=context.request.html)
    url = directory_outputs_url(main)
    outputs_at = None if url is None else str(url)
    return RunResult(main, head, ExitCode(ending.exit_code), None, page, outputs_at=outputs_at)


async def ended(context: ClusterContext, result: RunResult) -> RunResult:
    """Delete the images that no job needs any more, if the manifest asks for it, and notify the end of the run.

    Both only change the report: neither makes the run fail.
    """
    is_done = result.report.counts.succeeded == result.report.counts.total
    cleans = context.manifest.assets.cleanup == "on_success" and is_done
    if not cleans and not context.notices.is_wanted:
        return result
    with lock_run_directory(context.main):
        if cleans:
            result = await _cleaned(context, result)
        return await _notified(context, result)


async def _cleaned(context: ClusterContext, result: RunResult) -> RunResult:
    """Delete unneeded images. Not while shards are out: their workers may still use them."""
    main = context.main
    try:
        with Journal.read(main) as journal:
            if outstanding_shards(journal) is not None:
                return result
            if not any(fate.goes for fate in decide_fates(journal, main, found_too=False)):
                return result
        async with open_for_repair(main, context.settings, context.transport) as bench:
            await clean_quietly(bench, main, result.report, context.deadline)
            head, page = write_results(bench.journal, main, html=context.request.html)
    except CrucibleBatchError as error:
        later = shell_command("clean", main, "--assets")
        logger.warning("uploaded images could not be deleted (%s); do it later: %s", error, later)
        return result
    return replace(result, report=head, page=page)


async def _notified(context: ClusterContext, result: RunResult) -> RunResult:
    if not context.notices.is_wanted:
        return result
    main = context.main
    with reopened(main, now=context.clock.now()) as journal, RowFile(main) as rows:
        collect_rows(journal, main, rows)
        html = result.page is not None
        head = await notify_end(context.notices, journal, main, result.report, rows, html=html)
        await publish_report(journal, store_by(journal, main))
    return replace(result, report=head)

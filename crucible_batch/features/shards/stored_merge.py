"""The merge of shards that have logs: in an object store, or in a main run directory.

Their journals are brought here, and their logs are closed. Outputs have their final names already,
so none is moved. The main run directory of a run in an object store is the local directory of the
run.

    killed between                        the same command again
    journals brought, and logs closed     brings what is newer
    logs closed, and events merged        finds the logs closed, and merges
    events merged, and added to the log   adds them there; on another machine, merges
    added to the log, and report stored   stores report and receipts
    report stored, and plan noted         notes that the plan is merged
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.sharding import ShardId, ShardOf
from crucible_batch.engine import SystemClock
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.features.shards.directories import ShardDirectory, is_lost
from crucible_batch.features.shards.log import ShardLog
from crucible_batch.features.shards.merge_rule import MergeChoice
from crucible_batch.features.shards.run import ShardRows
from crucible_batch.features.shards.stored_plans import fetch_plan, note_merged
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory, set_journal_aside
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.concurrent_work import for_each
from crucible_batch.runs.divided_plans import PlanList, read_list
from crucible_batch.runs.journal_log import Closed, LogState
from crucible_batch.runs.log_copy import is_current, restore_rows
from crucible_batch.runs.object_runs import in_thread, objects_at
from crucible_batch.runs.outstanding_shards import shards_in, unknown_shards
from crucible_batch.runs.run_journal import directory_outputs_url
from crucible_batch.runs.run_log import MainLog, bring_journal
from crucible_batch.runs.shard_notes import note_shard, noted_in
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class StoredShards:
    """The shards of ``plan``, which have logs in ``objects``; None if no plan waits for its merge.

    ``logs`` are those of its shards, by number, and ``log`` is that of the run itself, in an object
    store. ``main`` is the main run directory, and ``shards``
    are directories here with the journals that the logs have. ``earlier`` are the digests of the
    plans that were listed before.
    """

    main: Path
    objects: ObjectPort
    plan: SavedPlan | None
    logs: Mapping[int, ShardLog]
    shards: tuple[Path, ...] = ()
    earlier: tuple[str, ...] = ()
    log: MainLog | None = None

    def close(self, choice: MergeChoice) -> None:
        """Close the logs of the shards that are merged or abandoned.

        Nothing more is bought for them. May be repeated. Blocking. Raises ``LogTakenError`` if
        one was continued since it was brought, and ``ObjectStoreError``.
        """
        in_thread(self._close(choice.found, "merged"))
        in_thread(self._close(choice.abandoned, "abandoned"))

    async def _close(self, numbers: Iterable[int], why: Closed) -> None:
        for number in numbers:
            if not self.logs[number].closed:
                await self.logs[number].close(why)

    def add_to_log(self) -> None:
        """Add what was merged to the log of the run, so that other machines know it.

        Blocking. Raises ``LogTakenError`` if another process has continued it, and
        ``ObjectStoreError``.
        """
        if self.log is not None:
            in_thread(self.log.add_local(SystemClock()))

    def note_merged(self) -> None:
        """Note beside the logs that the plan is merged.

        Blocking. May be repeated. Raises ``ObjectStoreError``.
        """
        if self.plan is not None:
            in_thread(note_merged(self.objects, self.plan.digest))


def url_of(run_dirs: Iterable[Path], out_dir: Path | None) -> ObjectUrl | None:
    """Return the URL of a run in an object store; None if no directory is of one.

    Raises ``UserError`` if other directories are given beside it.
    """
    given = list(run_dirs)
    if out_dir is not None:
        given.append(out_dir)
    urls = [ObjectUrl.parse(path) or directory_outputs_url(_with_journal(path)) for path in given]
    url = next((url for url in urls if url is not None and url.directory is None), None)
    if url is None:
        return None
    if any(other != url for other in urls):
        raise UserError(
            f"the shards of {url} are read from there, and from no directory",
            hint=f"name nothing else: {shell_command('merge', str(url))}",
        )
    return url


def _with_journal(directory: Path) -> Path:
    """Return the run directory; if its journal was lost, that of one of its shards."""
    if is_lost(directory):
        return unknown_shards(directory, None)[0]
    return directory


def bring_shards(main: Path, url: ObjectUrl, *, now: float) -> StoredShards:
    """Bring the journals of the shards that are to be merged into ``main`` to this machine.

    In an object store, that of the run is brought first. Blocking. Raises ``RunBusyError`` if one
    of them runs on this machine or the run on another one, ``RunDirectoryError``, ``JournalError``
    and ``ObjectStoreError``.
    """
    return in_thread(_brought(main, objects_at(url), now))


async def _brought(main: Path, objects: ObjectPort, now: float) -> StoredShards:
    log = await bring_journal(main, objects.url, SystemClock())
    listed = await read_list(objects)
    digest = _waiting_plan(main, objects.url, listed)
    if digest is None:
        return StoredShards(main, objects, None, {}, log=log)
    plan = await fetch_plan(objects, digest)
    folder, logs = plan.path.parent, dict[int, ShardLog]()

    async def bring(shard: ShardId) -> None:
        logs[shard.number] = log = ShardLog(objects, digest, shard)
        _make(folder / shard.folder, plan, shard, await log.read(), now=now)

    shards = [ShardId(planned.number, len(plan.head.shards)) for planned in plan.head.shards]
    await for_each(shards, bring, at_once=_AT_ONCE)
    known = listed.of(digest)
    if known is not None and known.merged:
        _refuse_deleted(logs.values(), main)
    earlier = tuple(before.digest for before in listed.plans if before.digest != digest)
    return StoredShards(main, objects, plan, logs, tuple(shards_in(folder)), earlier, log)


def _waiting_plan(main: Path, url: ObjectUrl, listed: PlanList) -> str | None:
    """Return the plan whose shards are to be merged: the journal's, else the listed one.

    If all are merged, that of the journal as long as the list doesn't have that noted. None in a
    directory if the journal's plan isn't listed there: its shards have no logs. Raises
    ``RunDirectoryError`` if no plan waits, and the journal has no note of one.
    """
    outstanding = noted_in(main)
    if outstanding is not None and outstanding.missing:
        if url.directory is not None and listed.of(outstanding.plan_digest) is None:
            return None
        return outstanding.plan_digest
    if outstanding is None and not listed.unmerged:
        raise RunDirectoryError(
            f"no shard of {url} waits for its merge: all are merged, or no plan was divided",
            hint=f"continue the run here: crucible-batch run MANIFEST --out-dir {url}",
        )
    return next(iter(listed.unmerged), None)


def _refuse_deleted(logs: Iterable[ShardLog], main: Path) -> None:
    """Raise ``RunDirectoryError`` if a log of a plan that another machine has merged is deleted.

    That merge has closed all logs. Without one, its shard would seem to have bought nothing.
    """
    for log in logs:
        if not log.closed:
            raise RunDirectoryError(
                f"the log of shard {log.shard} in {log.objects.url} was deleted: the shard was"
                " merged on another machine, and the journal here has nothing of it",
                hint="restore the log; or move the journal of"
                f" {main} away: the next run restores what was bought from the receipts",
            )


def binding_of(plan: SavedPlan) -> Binding:
    """Return what the run directories of a plan and its shards belong to."""
    head = plan.head
    return Binding(head.manifest.name, head.options.run_id, head.gateway)


def _make(directory: Path, plan: SavedPlan, shard: ShardId, state: LogState, *, now: float) -> None:
    """Make the journal of a shard from its log, unless the local one has all of it."""
    if not any(rows.runs for rows in state.entries):
        return  # claimed, and never begun
    with lock_run_directory(directory):
        if Journal.exists(directory):
            if is_current(directory, state):
                return
            set_journal_aside(directory, f"before-{state.writer[:8]}-{state.position}")
        with (
            Journal.open(directory, binding_of(plan), now=now) as journal,
            PlanFile.temporary() as draft,
            journal.transaction(),
        ):
            note_shard(journal, ShardOf(plan.digest, shard))
            draft.fill(ShardRows(plan, shard, directory).jobs())
            journal.adopt(draft)
            restore_rows(journal, state)


def refuse_unfinished(shards: Iterable[ShardDirectory]) -> None:
    """Raise ``UserError`` if the newest run of a shard with a log has no end.

    It was killed, or is running on another machine.
    """
    for shard in shards:
        if shard.has_log and shard.ending is None:
            command = shell_command("run", "PLAN", "--shard", str(shard.found.shard))
            raise UserError(
                f"shard {shard.found.shard} of plan {shard.found.plan_digest[:8]} has not ended: it"
                " was killed, or is running on another machine",
                hint="wait for its end; or run it again on any machine, which continues it:"
                f" {command}",
            )

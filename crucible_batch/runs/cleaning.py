"""Deletion of unneeded assets at the gateway, for their rebate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from crucible_batch.core.asset import (
    ASSET_PREFIX,
    KeepReason,
    is_candidate,
    keep_reason,
    may_need_images,
)
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Deleted
from crucible_batch.engine import SystemClock
from crucible_batch.errors import ConsentError, CrucibleBatchError, ExitCode
from crucible_batch.journal import Binding, Journal, journals_beside
from crucible_batch.report import ReportHead
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.directory import LockedRun, locked, open_for_repair
from crucible_batch.runs.object_runs import store_of
from crucible_batch.runs.published_report import publish_report
from crucible_batch.runs.reporting import write_report_of
from crucible_batch.runs.run_journal import jobs_with_past, local_directory
from crucible_batch.runs.run_log import bring_newest
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AssetFate:
    """The decision about one asset.

    ``stays`` is the reason if it is kept, and ``because`` the job or directory which that reason
    refers to. ``rebate`` is the amount refunded, None until the asset is deleted. ``charged`` is
    what it cost this directory: 0 if it was found rather than uploaded.
    """

    sha256: str
    asset_id: str | None
    filename: str | None
    charged: Credits
    stays: KeepReason | None = None
    because: str | None = None
    rebate: Credits | None = None

    @property
    def goes(self) -> bool:
        return self.stays is None


@dataclass(frozen=True, slots=True)
class Cleaning:
    """The assets that were or would be deleted.

    ``failure`` is the error that ended the deletion early; calling again resumes it.
    """

    run_dir: Path
    fates: tuple[AssetFate, ...]
    failure: CrucibleBatchError | None = None

    @property
    def going(self) -> tuple[AssetFate, ...]:
        return tuple(fate for fate in self.fates if fate.goes)

    @property
    def deleted(self) -> tuple[AssetFate, ...]:
        return tuple(fate for fate in self.fates if fate.rebate is not None)

    @property
    def rebates(self) -> Credits:
        return sum((fate.rebate or ZERO for fate in self.fates), ZERO)

    @property
    def exit_code(self) -> ExitCode:
        if self.failure is None:
            return ExitCode.OK
        return self.failure.exit_code


async def delete_assets(
    run_dir: str | Path,
    *,
    found: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Cleaning], bool] | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Cleaning:
    """Delete the assets that this run directory uploaded and that no unfinished job needs, and
    record the rebates.

    The unfinished jobs of this directory and of the run directories beside it are considered.
    Assets that were found at the gateway, not uploaded from here, are deleted only if ``found`` is
    true. With ``dry_run`` nothing is deleted and no key is needed. ``confirm`` is called before the
    first deletion. A job that needs a deleted image later pays for its upload again.

    Raises ``RunDirectoryError``, ``RunBusyError``, ``ConsentError`` if ``confirm`` returns False,
    ``KeyRefusedError``, ``GatewayError`` and ``JournalError`` before anything is deleted; a later
    error is the result's ``failure``.
    """
    directory = local_directory(run_dir)
    if dry_run:
        with Journal.read(directory) as journal:
            return Cleaning(directory, decide_fates(journal, directory, found_too=found))
    # An older copy would not know which images jobs of another machine need.
    await bring_newest(directory, SystemClock())
    with locked(directory):
        with Journal.read(directory) as journal:
            cleaning = Cleaning(directory, decide_fates(journal, directory, found_too=found))
        if not cleaning.going:
            return cleaning
        if confirm is not None and not confirm(cleaning):
            raise ConsentError(
                "nothing was deleted", hint="use --yes to delete without being asked"
            )
        async with open_for_repair(directory, settings, transport) as bench:
            cleaning = await delete_selected(bench, cleaning)
            write_report_of(bench.journal, directory)
            await publish_report(bench.journal, store_of(directory))
    return cleaning


def decide_fates(journal: Journal, directory: Path, *, found_too: bool) -> tuple[AssetFate, ...]:
    """Decide for each asset of the directory's journal whether to delete it. Blocking.

    Also reads the journals of the directories beside it.
    """
    candidates = [asset for asset in journal.assets() if is_candidate(asset)]
    if not candidates:
        return ()
    needed, names = _images_of(journal)
    shared, unread = _needed_beside(directory, journal.binding())
    fates = []
    for asset in candidates:
        elsewhere = shared.get(asset.sha256, unread)
        stays = keep_reason(
            asset, needed=asset.sha256 in needed, shared=elsewhere is not None, found_too=found_too
        )
        because = None
        if stays is KeepReason.NEEDED:
            because = needed.get(asset.sha256)
        elif stays is KeepReason.SHARED:
            because = elsewhere
        filename = names.get(asset.sha256)
        fates.append(
            AssetFate(asset.sha256, asset.asset_id, filename, asset.charged, stays, because)
        )
    return tuple(fates)


async def delete_selected(bench: LockedRun, cleaning: Cleaning) -> Cleaning:
    """Delete the selected assets one at a time, recording each in the journal before the next.

    An asset that is already gone at the gateway counts as deleted.
    """
    fates = []
    failure: CrucibleBatchError | None = None
    for fate in cleaning.fates:
        done = fate
        if fate.goes and fate.asset_id is not None and failure is None:
            try:
                rebate = await bench.gateway.delete_asset(fate.asset_id)
                event = Deleted(at=bench.clock.now(), rebate=rebate)
                await bench.journal.append(ASSET_PREFIX + fate.sha256, event)
                done = replace(fate, rebate=rebate)
            except CrucibleBatchError as error:
                failure = error
        fates.append(done)
    return replace(cleaning, fates=tuple(fates), failure=failure)


async def clean_quietly(
    bench: LockedRun, directory: Path, head: ReportHead, deadline: Deadline
) -> ReportHead:
    """Delete unneeded assets after a run that succeeded, and return the updated head of the report.

    Errors are only logged, with the command to run later: they don't make the run fail.
    """
    failure: Exception | None = None
    try:
        cleaning = Cleaning(directory, decide_fates(bench.journal, directory, found_too=False))
        if cleaning.going:
            async with deadline.kept():
                failure = (await delete_selected(bench, cleaning)).failure
            head = write_report_of(bench.journal, directory)
    except Exception as error:  # noqa: BLE001 - the run has succeeded, and its report is valid
        failure = error
    if failure is not None:
        logger.warning(
            "uploaded images could not be deleted (%s); do it later: %s",
            failure,
            shell_command("assets", directory, "--delete"),
        )
    return head


def _images_of(journal: Journal) -> tuple[dict[str, str], dict[str, str]]:
    """Return the digests of images that jobs may need again, with the first such job's name; and
    all file names."""
    needed: dict[str, str] = {}
    filenames: dict[str, str] = {}
    for planned, job, retired in jobs_with_past(journal):
        filenames.update(
            (image.spec.sha256, image.spec.filename) for image in planned.images.values()
        )
        if planned.images and may_need_images(job, retired=retired):
            for digest in planned.digests:
                needed.setdefault(digest, planned.name)
    return needed, filenames


def _needed_beside(directory: Path, binding: Binding) -> tuple[Mapping[str, str], str | None]:
    """Return the digests of images that unfinished jobs of other directories need, with the first
    such directory.

    Images are matched by digest, since a job that has not begun has no asset id yet. The second
    value names a directory that can't be read, and so may need any image; None if all could be
    read.
    """
    needed: dict[str, str] = {}
    unread: str | None = None
    for other in journals_beside(directory, binding):
        try:
            if not Journal.exists(other):  # its run was killed before it began
                continue
            with Journal.read(other) as journal:
                if not journal.is_begun() or journal.binding().gateway != binding.gateway:
                    continue
                for digest in _images_of(journal)[0]:
                    needed.setdefault(digest, str(other))
        except (CrucibleBatchError, OSError):
            unread = f"{other}, which can't be read"
    return needed, unread

"""Assets that nobody needs any more, deleted at the gateway for their rebate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.run_directory import LockedRun, locked, open_for_repair
from crucible_batch.api.status import jobs_with_past, write_report_of
from crucible_batch.domain.asset import ASSET_PREFIX, KeepReason, is_candidate, keep_reason, may_need_images
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.events import Deleted
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.errors import ConsentError, CrucibleBatchError, ExitCode
from crucible_batch.journal import Binding, Journal, journals_beside
from crucible_batch.report import ReportHead
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AssetFate:
    """What becomes of one asset. ``stays`` says why it is kept, ``because`` which job or directory that is about.

    ``rebate`` is what came back for it, None as long as it hasn't been deleted. ``charged`` is what it cost this
    directory: 0 for one that was found.
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
    """What was deleted, or would be. ``failure`` is what kept the deleting from going on; the same command does."""

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
        return sum((fate.rebate for fate in self.fates if fate.rebate is not None), ZERO)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.OK if self.failure is None else self.failure.exit_code


async def clean_assets(
    run_dir: str | Path,
    *,
    found: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Cleaning], bool] | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Cleaning:
    """Delete the assets that this run directory uploaded and that no unfinished job needs, and journal the rebates.

    Unfinished jobs are those of this directory and of the run directories beside it. An asset that was merely found is
    another's upload: it goes only where ``found`` says so. ``dry_run`` only says what would go, and needs no key.
    ``confirm`` is asked before anything is deleted. A job that wants such an image later pays for its upload again.

    Raises ``RunDirectoryError``, ``RunBusyError``, ``ConsentError``, ``KeyRefusedError``, ``GatewayError`` and
    ``JournalError`` before anything is deleted; what fails after that is the result's ``failure``.
    """
    directory = Path(run_dir)
    if dry_run:
        with Journal.read(directory) as journal:
            return Cleaning(directory, decide_fates(journal, directory, found_too=found))
    with locked(directory):
        with Journal.read(directory) as journal:
            cleaning = Cleaning(directory, decide_fates(journal, directory, found_too=found))
        if not cleaning.going:
            return cleaning
        if confirm is not None and not confirm(cleaning):
            raise ConsentError("nothing was deleted", hint="say --yes to delete unasked")
        async with open_for_repair(directory, settings, transport) as bench:
            cleaning = await delete_assets(bench, cleaning)
            write_report_of(bench.journal, directory)
    return cleaning


def decide_fates(journal: Journal, directory: Path, *, found_too: bool) -> tuple[AssetFate, ...]:
    """Decide about each asset of the directory's journal; reads the journals beside it too. Blocking."""
    candidates = [asset for asset in journal.assets() if is_candidate(asset)]
    if not candidates:
        return ()
    jobs = list(_wanting(journal))
    needed = _first_names(jobs)
    shared, unread = _wanted_beside(directory, journal.binding())
    names = _filenames(journal)
    fates = []
    for asset in candidates:
        elsewhere = shared.get(asset.sha256, unread)
        stays = keep_reason(asset, needed=asset.sha256 in needed, shared=elsewhere is not None, found_too=found_too)
        because = (
            {KeepReason.NEEDED: needed.get(asset.sha256), KeepReason.SHARED: elsewhere}.get(stays) if stays else None
        )
        filename = names.get(asset.sha256)
        fates.append(AssetFate(asset.sha256, asset.asset_id, filename, asset.charged, stays, because))
    return tuple(fates)


async def delete_assets(bench: LockedRun, cleaning: Cleaning) -> Cleaning:
    """Delete what goes, one after the other, each journalled before the next. One that is gone already counts too."""
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


async def clean_quietly(bench: LockedRun, directory: Path, head: ReportHead, deadline: Deadline) -> ReportHead:
    """Delete what nobody needs at the end of a run that succeeded, and return the head of the report after it.

    What fails is logged, for ``clean`` to do later: it makes no success a failure.
    """
    failure: Exception | None = None
    try:
        cleaning = Cleaning(directory, decide_fates(bench.journal, directory, found_too=False))
        if cleaning.going:
            async with deadline.kept():
                failure = (await delete_assets(bench, cleaning)).failure
            head = write_report_of(bench.journal, directory)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has succeeded and its report stands
        failure = error
    if failure is not None:
        logger.warning(
            "uploaded images could not be deleted (%s); do it later: %s",
            failure,
            shell_command("clean", directory, "--assets"),
        )
    return head


def _wanting(journal: Journal) -> Iterator[PlannedJob]:
    """Yield the jobs that may ask for their images again."""
    for planned, job, retired in jobs_with_past(journal):
        if planned.images and may_need_images(job, retired=retired):
            yield planned


def _first_names(jobs: Iterable[PlannedJob]) -> dict[str, str]:
    names: dict[str, str] = {}
    for planned in jobs:
        for digest in planned.digests:
            names.setdefault(digest, planned.name)
    return names


def _filenames(journal: Journal) -> dict[str, str]:
    specs = (image.spec for planned, _, _ in jobs_with_past(journal) for image in planned.images.values())
    return {spec.sha256: spec.filename for spec in specs}


def _wanted_beside(directory: Path, binding: Binding) -> tuple[Mapping[str, str], str | None]:
    """Return which images unfinished jobs of other directories need, with the directory of the first that does.

    An image is an asset's content, so its digest says more than an id: a job that has not begun knows none yet. The
    second value names a directory that can't be read: it may need any of them.
    """
    wanted: dict[str, str] = {}
    unread: str | None = None
    for other in journals_beside(directory, binding):
        try:
            with Journal.read(other) as journal:
                if not journal.is_begun() or journal.binding().gateway != binding.gateway:
                    continue
                for planned in _wanting(journal):
                    wanted.update((digest, str(other)) for digest in planned.digests if digest not in wanted)
        except (CrucibleBatchError, OSError):
            unread = f"{other}, which can't be read"
    return wanted, unread

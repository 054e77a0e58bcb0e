"""Disks that are full, failing or read-only, and clocks that jump: a clear end, and the same call
goes on once mended.

The judge is the sandbox's ledger: whatever was lost on the way, nothing is paid twice.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch import atomic_files
from crucible_batch.errors import ExitCode, JournalError, ReportError, RunDirectoryError
from crucible_batch.journal import Journal, database, group_commit, lock, sql
from crucible_batch.outputs import disk_space, exclusive_rename, preflight, temp_file
from crucible_batch.outputs.safe_fs import Folder
from crucible_batch.runs.status import read_status
from tests.harness.bench import Bench, Start
from tests.harness.features import has_feature
from tests.harness.slow_cases import quick_every, quick_where

# A connection that is cancelled while it is made is left to the garbage collector, by httpx's own
# doing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# For the fixture start.
HAS_PAGES = True
SHORT_JOBS = True


def eight_jobs(bench: Bench) -> str:
    """Two have an image of their own, and two have two outputs."""
    one, two = bench.picture("1.png"), bench.picture("2.png", "navy")
    edits = [
        f"{{name: e{n}, prompt: edit, workflow: qwen-edit, image: {image}}}"
        for n, image in enumerate((one, two))
    ]
    texts = [f"{{name: t{n}, prompt: 'text {n}'}}" for n in range(4)]
    sheets = [f"{{name: s{n}, prompt: 'sheet {n}', workflow: zimage-sheet}}" for n in range(2)]
    return "\n".join([*edits, *texts, *sheets])


async def assert_goes_on(bench: Bench, manifest: Path, **options: Any) -> None:
    """The same call again: all is there, each job and each image was bought once, and the disk is
    as it should be.
    """
    result = await bench.run(manifest, **options)
    state = await bench.state()
    audit, books = state["audit"], result.report.credits
    assert result.ok
    assert (audit["problems"], state["violations"], state["keyless_posts"]) == ([], [], 0)
    assert len(state["jobs"]) == 8
    assert len([asset for asset in state["assets"] if asset["deleted_at"] is None]) == 2
    assert books.spent == audit["spent_on_jobs"] + audit["spent_on_uploads"]
    assert books.held in held_for_uploads(books.lost_uploads)
    await bench.verify()
    assert not [name for name in bench.outputs() if ".crucible-part-" in name]


def held_for_uploads(lost: int) -> set[Decimal]:
    """What may stay held: an upload that was journalled and never left can't be told from one whose
    answer was lost.

    A lost one counts at its price of 0.5 where it was held before any price was known, else at its
    bound, 16 times that; one of the two that was found in the list counts as charged at 0.5, and
    the rest of its bound is held.
    """
    price, bound = Decimal("0.5"), 16 * Decimal("0.5")
    return {
        (lost - bounded) * price + bounded * bound + found * (bound - price)
        for bounded in range(lost + 1)
        for found in range(3)
    }


async def exit_code_of_run(bench: Bench, manifest: Path) -> ExitCode:
    try:
        return (await bench.run(manifest)).exit_code
    except JournalError as error:
        return error.exit_code


class FullJournal:
    """A database that may not grow past so many pages: SQLite's own "database or disk is full"."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: int | None = None
        original = Journal._connect

        def connect(journal: Journal):
            connection = original(journal)
            if self.pages is not None:
                connection.execute(f"PRAGMA max_page_count = {self.pages}")
            return connection

        monkeypatch.setattr(Journal, "_connect", connect)


@pytest.mark.parametrize("pages", [1, 9, 11])
async def test_a_disk_that_fills_up_under_the_journal_costs_nothing_twice(
    start: Start, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    full = FullJournal(monkeypatch)
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        full.pages = pages
        assert await exit_code_of_run(bench, manifest) == ExitCode.STOPPED
        full.pages = None
        await assert_goes_on(bench, manifest)


@pytest.mark.parametrize("commits", quick_every(3, [0, 1, 2, 3, 5, 8, 12, 17, 23]))
async def test_a_commit_that_fails_costs_nothing_twice_whatever_it_would_have_held(
    start: Start, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    """Intents are durable before credits move, and a lost result is asked for again: no commit is
    worth a reserve.
    """
    original, count = group_commit._commit, itertools.count()

    def commit(*args: object) -> None:
        if next(count) >= commits:
            raise sqlite3.OperationalError("database or disk is full")
        original(*args)

    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            patch.setattr(group_commit, "_commit", commit)
            assert await exit_code_of_run(bench, manifest) == ExitCode.STOPPED
        await assert_goes_on(bench, manifest)


@pytest.mark.parametrize("statement", ["INDEX_GATEWAY_JOBS", "ACCEPTED_AS", "JOBS"])
async def test_a_journal_that_can_t_be_read_or_indexed_stops_the_run_with_5(
    start: Start, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            patch.setattr(sql, statement, "SELECT disk_io_error()")
            assert await exit_code_of_run(bench, manifest) == ExitCode.STOPPED
        await assert_goes_on(bench, manifest)


@pytest.mark.parametrize("pictures", [0, 1, 3])
async def test_a_disk_that_is_nearly_full_buys_nothing_more_and_saves_what_was_bought(
    start: Start, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    real = os.statvfs

    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))

        def nearly_full(path: object) -> object:
            disk = real(path)
            saved = len(list((bench.path / "out").glob("*/*.png")))
            return SimpleNamespace(
                f_bavail=disk.f_bavail if saved < pictures else 10,
                f_frsize=disk.f_frsize,
                f_blocks=disk.f_blocks,
            )

        with monkeypatch.context() as patch:
            patch.setattr(disk_space.os, "statvfs", nearly_full)
            result = await bench.run(manifest, concurrency=2)
        assert result.exit_code == ExitCode.STOPPED
        assert result.report.stops["*"].code == "DISK_NEARLY_FULL"
        bought, saved = len((await bench.state())["jobs"]), result.report.counts.succeeded
        assert bought == saved < 8
        assert (saved > 0) == (pictures > 0)
        assert result.report.credits.held == 0
        await assert_goes_on(bench, manifest)


class Failing:
    """A function that fails with an ``errno`` from its n-th call on."""

    def __init__(self, original: Callable[..., object], number: int, at: int) -> None:
        self._original = original
        self._number = number
        self._calls = itertools.count(1)
        self._at = at

    def __get__(self, owner: object, _type: type) -> Callable[..., object]:
        """Stand for a method as well."""
        return partial(self, owner)

    def __call__(self, *args: object, **options: object) -> object:
        if next(self._calls) >= self._at:
            raise OSError(self._number, os.strerror(self._number))
        return self._original(*args, **options)


@pytest.mark.parametrize(
    "number", quick_where([errno.ENOSPC, errno.EDQUOT, errno.EIO], errno.ENOSPC.__eq__)
)
@pytest.mark.parametrize(("owner", "where"), [(temp_file, "_write_all"), (Folder, "sync")])
@pytest.mark.parametrize("at", [1, 6])
async def test_a_disk_that_fails_under_the_outputs_ends_the_run_with_5(
    start: Start, monkeypatch: pytest.MonkeyPatch, owner: object, where: str, number: int, at: int
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            patch.setattr(owner, where, Failing(getattr(owner, where), number, at))
            result = await bench.run(manifest)
        assert result.exit_code == ExitCode.STOPPED
        (stop,) = {stop.message for stop in result.report.stops.values()}
        assert os.strerror(number) in stop
        # No name stands for anything but a whole output.
        await bench.verify()
        await assert_goes_on(bench, manifest)


def refuse(*_args: object, **_options: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("renames", [refuse, None])
async def test_where_no_output_could_get_its_name_nothing_is_bought(
    start: Start, monkeypatch: pytest.MonkeyPatch, renames: Callable[..., None] | None
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refuse)
            patch.setattr(exclusive_rename, "_exclusive_rename", lambda: renames)
            with pytest.raises(RunDirectoryError, match="can't store outputs") as caught:
                await bench.run(manifest)
        assert caught.value.exit_code == ExitCode.USER_ERROR
        assert (await bench.state())["jobs"] == []
        assert (await bench.state())["assets"] == []
        await assert_goes_on(bench, manifest)


async def test_where_a_name_of_the_run_could_not_be_made_nothing_is_bought(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        manifest = bench.manifest("{name: größe, prompt: one}")
        with monkeypatch.context() as patch:
            patch.setattr(preflight, "_takes", lambda *_args: False)
            with pytest.raises(
                RunDirectoryError, match="does not accept file names such as 'größe/"
            ):
                await bench.run(manifest)
            assert (await bench.state())["jobs"] == []
            assert (await bench.run(bench.manifest("{name: size, prompt: one}"))).ok


def let_syncs_fail_from_the_report_on(patch: pytest.MonkeyPatch) -> None:
    """The outputs, and the journal's name, are synced by the same call, so theirs do nothing."""
    patch.setattr(atomic_files.os, "fsync", Failing(os.fsync, errno.ENOSPC, 1))
    patch.setattr(database, "sync_names", lambda _path: None)
    patch.setattr(Folder, "sync", lambda _self: None)
    patch.setattr(temp_file.TempFile, "sync", lambda _self: None)


async def test_a_report_that_cannot_be_written_is_exit_5_and_the_journal_has_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            let_syncs_fail_from_the_report_on(patch)
            with pytest.raises(ReportError, match="No space left") as caught:
                await bench.run(manifest)
        assert caught.value.exit_code == ExitCode.STOPPED
        command = f"crucible-batch report {bench.path / 'out'}"
        assert caught.value.hint == f"fix the disk problem, then: {command}"
        assert read_status(bench.path / "out").report.status == "succeeded"
        await assert_goes_on(bench, manifest)


async def test_a_run_that_a_full_disk_ended_is_to_be_run_again_and_not_only_reported(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        with monkeypatch.context() as patch:
            patch.setattr(temp_file, "_write_all", Failing(temp_file._write_all, errno.ENOSPC, 3))
            let_syncs_fail_from_the_report_on(patch)
            with pytest.raises(ReportError) as caught:
                await bench.run(manifest)
        assert caught.value.hint == "fix the disk problem, then: run the same command again"
        await assert_goes_on(bench, manifest)


async def test_a_run_directory_that_is_read_only_is_refused_before_anything_is_asked(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        manifest = bench.manifest(eight_jobs(bench))
        await bench.run(manifest)
        before = (await bench.state())["requests"]
        read_only = OSError(errno.EROFS, os.strerror(errno.EROFS))

        class ReadOnly(lock.FileLock):
            def acquire(self, *_args: object, **_options: object) -> object:
                raise read_only

        with monkeypatch.context() as patch:
            patch.setattr(lock, "FileLock", ReadOnly)
            attempts: list[Awaitable[object]] = [bench.run(manifest)]
            if has_feature("check"):
                attempts.append(
                    api.check_outputs(bench.path / "out", fix=True, settings=bench.settings)
                )
            for attempt in attempts:
                with pytest.raises(RunDirectoryError, match="Read-only file system") as caught:
                    await attempt
                assert caught.value.exit_code == ExitCode.USER_ERROR
        assert (await bench.state())["requests"] == before


async def test_a_run_directory_on_a_read_only_disk_can_be_looked_at(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        await bench.run(bench.manifest(eight_jobs(bench)))
    out = bench.path / "out"
    before = sorted(out.rglob("*"))
    monkeypatch.setattr(os, "access", lambda *_args: False)
    await bench.verify()
    assert read_status(out).report.counts.succeeded == 8
    assert sorted(out.rglob("*")) == before


class Jumping:
    """A wall clock that goes ten years ahead, back to before the epoch, and home again, at each
    look."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._jumps = itertools.cycle([0.0, 3.2e8, -1.0, -3.2e8, -86_400.0, 3_600.0, -2.0e9])

    def __call__(self) -> float:
        return self._now() + next(self._jumps)


@pytest.mark.parametrize(
    "faults", ["", "generate.drop-after=2,job.503-before=3,asset-create.drop-after=1"]
)
async def test_a_wall_clock_that_jumps_back_and_forth_loses_nothing(
    start: Start, faults: str
) -> None:
    async with start(faults=faults, time_scale=1.0) as bench:
        bench.clock.now = Jumping(bench.clock.now)
        manifest = bench.manifest(eight_jobs(bench))
        stopped = await bench.run(manifest, deadline_s=4.0)
        assert stopped.exit_code in {ExitCode.OK, ExitCode.STOPPED}
        # How old the key of a submit in doubt is can't be told by such a clock, so it is sent again
        # only when asked.
        await assert_goes_on(bench, manifest, resubmit_unknown=True)
        report = read_status(bench.path / "out").report
        assert report.started_at.endswith("Z")

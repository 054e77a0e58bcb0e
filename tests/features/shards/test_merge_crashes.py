"""A merge that is stopped at any point, by an error or a kill, is finished by the same command, as
if never stopped."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.features.shards.merging import MergeResult, merge
from crucible_batch.journal import Journal
from crucible_batch.runs.shard_notes import noted_shards
from tests.harness.shard_ground import ShardGround, done, failed, planned, saved, snapshot
from tests.harness.slow_cases import quick_every

CALLS = ("open", "link", "rename", "replace", "unlink", "mkdir", "fsync", "write")
NOW = 500.0


class StoppedError(BaseException):
    """The merge ends here: not an error that any code handles."""


class Boundaries:
    """Counts the effects of a merge on files and databases, and stops it at one of them: before it,
    or after it.
    """

    def __init__(self, stop_at: int | None, stop: Callable[[], None], *, after: bool) -> None:
        self.count = 0
        self._stop_at = stop_at
        self._stop = stop
        self._after = after

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            self.count += 1
            is_here = self.count == self._stop_at
            if is_here and not self._after:
                self._stop()
            try:
                return function(*args, **options)
            finally:
                if is_here:
                    self._stop()

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self.around(getattr(os, name)))
            patch.setattr(
                sqlite3, "connect", functools.partial(sqlite3.connect, factory=self._connection())
            )
            yield

    def _connection(self) -> type[sqlite3.Connection]:
        around = self.around

        class Watched(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                is_effect = not args[0].lstrip().upper().startswith(("SELECT", "PRAGMA"))
                run = around(super().execute) if is_effect else super().execute
                return run(*args)  # type: ignore[no-any-return]

            def executemany(self, *args: Any) -> sqlite3.Cursor:
                return around(super().executemany)(*args)  # type: ignore[no-any-return]

        return Watched


def make(home: Path) -> ShardGround:
    """A main directory that has done a job, one shard with an abandoned one, and one whose output
    has to move."""
    ground = ShardGround(home, jobs=4, count=3)
    ground.divide([done(3, 1.0)])
    ground.write(ground.main, saved(3, 1.3))
    ground.shard(1, [done(0, 10.0)])
    ground.shard(2, [failed(1, 11.0)], ending=Ending(RunStatus.PARTIAL, 1))
    return ground


def merged(ground: ShardGround) -> MergeResult:
    return merge([ground.main], abandon=[3], html=False, clock=lambda: NOW)


def state(ground: ShardGround) -> tuple[object, ...]:
    """Everything that a merge is to bring about."""
    with Journal.read(ground.main) as journal:
        events = list(journal.events())
        runs, shards = journal.runs(), noted_shards(journal)
    return events, runs, shards, snapshot(ground.main), ground.receipts()


def fresh(template: ShardGround, tmp_path: Path, name: object) -> ShardGround:
    home = tmp_path / str(name)
    shutil.copytree(template.home, home)
    return ShardGround(home, jobs=4, count=3)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> ShardGround:
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def wanted(template: ShardGround, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    ground = fresh(template, tmp_path_factory.mktemp("wanted"), "ground")
    assert merged(ground).exit_code is ExitCode.STOPPED
    return state(ground)


@pytest.fixture(scope="module")
def effects(template: ShardGround, tmp_path_factory: pytest.TempPathFactory) -> int:
    ground = fresh(template, tmp_path_factory.mktemp("effects"), "ground")
    boundaries = Boundaries(None, lambda: None, after=False)
    with boundaries.watching():
        merged(ground)
    assert boundaries.count > 60
    return boundaries.count


def stop() -> None:
    raise StoppedError


def kill() -> None:
    os._exit(9)


def fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


PARTS = 12
"""Each test stops merges at every twelfth effect; together, at all."""


def points(effects: int, part: int) -> range:
    return range(1 + part, effects + 1, PARTS)


def is_untouched_or_done(ground: ShardGround, wanted: tuple[object, ...]) -> bool:
    """The journal has all of the merge, or nothing of it."""
    with Journal.read(ground.main) as journal:
        events, shards, runs = list(journal.events()), noted_shards(journal), journal.runs()
    assert shards is not None
    is_done = not shards.missing
    return (events == wanted[0]) is is_done and (len(runs) == 2) is is_done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("part", quick_every(PARTS, range(PARTS)))
def test_a_merge_that_was_killed_is_finished_by_the_same_command(
    template: ShardGround,
    wanted: tuple[object, ...],
    effects: int,
    tmp_path: Path,
    part: int,
    *,
    after: bool,
) -> None:
    """In a process of its own, with which locks and open files end, and which cleans up nothing."""
    for point in points(effects, part):
        ground = fresh(template, tmp_path, point)
        assert _in_a_process(ground, point, after=after) in {0, 9}, point
        assert is_untouched_or_done(ground, wanted), point
        merged(ground)
        assert state(ground) == wanted, point


def _in_a_process(ground: ShardGround, point: int, *, after: bool) -> int:
    child = os.fork()
    if not child:
        try:
            with Boundaries(point, kill, after=after).watching():
                merged(ground)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("part", quick_every(PARTS, range(PARTS)))
def test_a_disk_that_fails_anywhere_costs_nothing(
    template: ShardGround, wanted: tuple[object, ...], effects: int, tmp_path: Path, part: int
) -> None:
    for point in points(effects, part):
        ground = fresh(template, tmp_path, point)
        with (
            Boundaries(point, fail, after=False).watching(),
            contextlib.suppress(CrucibleBatchError, OSError),
        ):
            merged(ground)
        assert is_untouched_or_done(ground, wanted), point
        merged(ground)
        with Journal.read(ground.main) as journal:
            assert list(journal.events()) == wanted[0], point
            assert len(journal.runs()) == 2, point


def test_what_is_reported_after_a_crash_is_the_ending_once_and_then_success(
    template: ShardGround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that repeats the command until it succeeds gets the exit code of the merge, whenever
    it was stopped."""
    ground = fresh(template, tmp_path, "ground")
    with monkeypatch.context() as patch:
        patch.setattr("crucible_batch.runs.reporting.write_report_of", lambda *_: stop())
        with pytest.raises(StoppedError):
            merged(ground)
    finished = merged(ground)
    assert (finished.exit_code, finished.is_repeated) == (ExitCode.STOPPED, False)
    repeated = merged(ground)
    assert (repeated.exit_code, repeated.is_repeated) == (ExitCode.OK, True)


def test_nothing_of_the_shards_is_changed(template: ShardGround, tmp_path: Path) -> None:
    ground = fresh(template, tmp_path, "ground")
    before = [snapshot(ground.folder(number)) for number in (1, 2)]
    with Journal.read(ground.folder(1)) as journal:
        events = list(journal.events())
    merged(ground)
    assert [snapshot(ground.folder(number)) for number in (1, 2)] == before
    with Journal.read(ground.folder(1)) as journal:
        assert list(journal.events()) == events
        assert journal.planned_job(planned(0).identity) is not None

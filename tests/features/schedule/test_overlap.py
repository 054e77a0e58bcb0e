"""What a run does while another run of the same manifest is active."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible_batch.errors import DeadlineError, RunBusyError
from crucible_batch.features.schedule import scheduled_runs
from crucible_batch.journal import is_locked, lock_run_directory
from crucible_batch.runs.cancellation import Deadline

NEVER = Deadline(None)
HOLDING = """
import sys
from pathlib import Path
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.features.schedule.scheduled_runs import hold_results
from crucible_batch.journal import lock_run_directory

folder, run_dir = Path(sys.argv[2]), Path(sys.argv[3])
with (
    hold_results(folder, run_dir, Deadline(None), wait=False, on_wait=print)
    if sys.argv[1] == "asked"
    else lock_run_directory(run_dir)
):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _other(kind: str, folder: Path, run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is active in ``run_dir``, and has asked for the lock of the manifest or
    has not."""
    command = [sys.executable, "-c", HOLDING, kind, str(folder), str(run_dir)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _untold(message: str) -> None:
    raise AssertionError(message)


def _enter(
    folder: Path,
    run_dir: Path,
    tell: Callable[[str], None] = _untold,
    *,
    deadline: Deadline = NEVER,
) -> bool:
    wait = tell is not _untold
    with scheduled_runs.hold_results(folder, run_dir, deadline, wait=wait, on_wait=tell) as waited:
        return waited


@pytest.mark.parametrize("kind", ["asked", "did not ask"])
@pytest.mark.parametrize("theirs", ["2026-11-25", "2026-11-26"])
def test_a_run_of_the_manifest_is_active_under_any_id_until_it_is_killed(
    tmp_path: Path, kind: str, theirs: str
) -> None:
    folder = tmp_path / "outputs/n"
    ours = folder / "2026-11-26"
    with _other(kind, folder, folder / theirs) as process:
        with pytest.raises(
            RunBusyError, match=f"another run holds .*: process {process.pid} on "
        ) as caught:
            _enter(folder, ours)
        assert caught.value.exit_code == 6
        process.kill()
        process.wait()
    assert _enter(folder, ours) is False


def test_runs_of_other_manifests_and_other_folders_are_no_hindrance(tmp_path: Path) -> None:
    with _other("asked", tmp_path / "outputs/m", tmp_path / "outputs/m/default"):
        assert _enter(tmp_path / "outputs/n", tmp_path / "outputs/n/default") is False
    with _other("asked", tmp_path / "a/outputs/n", tmp_path / "a/outputs/n/default"):
        assert _enter(tmp_path / "b/outputs/n", tmp_path / "b/outputs/n/default") is False


def test_a_directory_that_was_chosen_is_looked_at_alone_and_nothing_is_made(tmp_path: Path) -> None:
    folder, chosen = tmp_path / "outputs/n", tmp_path / "chosen"
    with _other("asked", folder, folder / "default"):
        assert _enter(folder, chosen) is False
    assert not chosen.exists()
    with (
        _other("did not ask", folder, chosen),
        pytest.raises(RunBusyError, match=f"another run holds {chosen}"),
    ):
        _enter(folder, chosen)


def test_the_lock_is_held_for_the_block_and_released_after_a_refusal(tmp_path: Path) -> None:
    folder = tmp_path / "outputs/n"
    (folder / "2026-11-25").mkdir(parents=True)
    with lock_run_directory(folder / "2026-11-25"), pytest.raises(RunBusyError):
        _enter(folder, folder / "2026-11-26")
    assert not is_locked(folder)
    with scheduled_runs.hold_results(folder, folder / "x", NEVER, wait=False, on_wait=_untold):
        assert is_locked(folder)
    assert not is_locked(folder)


def test_a_run_waits_until_the_other_ends_and_reports_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told, looks = tmp_path / "outputs/n", list[str](), list[float]()
    with _other("asked", folder, folder / "2026-11-25") as process:

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                process.kill()
                process.wait()

        monkeypatch.setattr(scheduled_runs, "sleep", sleep)
        assert _enter(folder, folder / "2026-11-26", told.append) is True
    assert len(looks) == 3
    assert [f"process {process.pid} on " in message for message in told] == [True]


def test_a_run_waits_no_longer_than_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told, deadline = tmp_path / "outputs/n", list[str](), Deadline(3600)
    with _other("asked", folder, folder / "2026-11-25"):
        monkeypatch.setattr(scheduled_runs, "sleep", lambda _seconds: deadline.set(0))
        with pytest.raises(DeadlineError):
            _enter(folder, folder / "2026-11-26", told.append, deadline=deadline)
    assert len(told) == 1

"""One run at a time in a directory, whatever becomes of the first."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import pytest
from filelock import FileLock

from crucible_batch.errors import RunBusyError, RunDirectoryError
from crucible_batch.journal import (
    is_locked,
    lock,
    lock_results,
    lock_run_directory,
    refuse_if_locked,
    safe_files,
)
from crucible_batch.journal.lock import HOLDER, read_holder
from tests.harness.case_table import each_case

PROGRAM = """
    import sys
    from pathlib import Path
    from crucible_batch.journal import lock_run_directory

    with lock_run_directory(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_another_process_is_kept_out_until_the_holder_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunBusyError) as caught, lock_run_directory(tmp_path):
            pass
        assert caught.value.exit_code == 6
        assert f"process {holder.pid} on {socket.gethostname()}, since 20" in caught.value.message
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not is_locked(tmp_path)
    assert (
        read_holder(tmp_path / ".crucible").pid == holder.pid
    )  # the dead one's text is still there, and stops nobody
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)
        assert read_holder(tmp_path / ".crucible").pid == os.getpid()
    assert not is_locked(tmp_path)
    assert not (tmp_path / ".crucible" / HOLDER).exists()


def test_a_directory_is_made_where_there_is_none(tmp_path):
    with lock_run_directory(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
@pytest.mark.parametrize("which", ["", ".crucible"])
def test_a_directory_in_which_everybody_may_write_is_refused_and_nothing_is_left_in_it(
    tmp_path, mode, which
):
    with lock_run_directory(tmp_path):
        pass
    (tmp_path / which).chmod(mode)
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(RunDirectoryError, match="is writable by everyone") as caught,
        lock_run_directory(tmp_path),
    ):
        pass
    assert f"chmod o-w {tmp_path / which}" in caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / which).chmod(0o775)
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)


def test_where_a_file_system_knows_no_modes_they_say_nothing(tmp_path, monkeypatch):
    def as_on_fat(prefix, dir):  # noqa: A002 - as tempfile calls it
        made = dir / f"{prefix}x"
        made.mkdir()
        made.chmod(0o777)
        return str(made)

    monkeypatch.setattr(safe_files.tempfile, "mkdtemp", as_on_fat)
    tmp_path.chmod(0o777)
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)


def test_what_is_made_is_not_open_to_everybody_whatever_the_mask(tmp_path):
    before = os.umask(0)
    try:
        for _ in range(2):
            with lock_run_directory(tmp_path / "run"):
                assert not (tmp_path / "run/.crucible").stat().st_mode & 0o002
    finally:
        os.umask(before)


def test_the_directory_of_another_user_is_refused_unless_we_are_root(tmp_path, monkeypatch):
    if os.geteuid() == 0:
        os.chown(tmp_path, 4242, -1)
        with lock_run_directory(tmp_path):
            pass
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(safe_files.os, "geteuid", lambda: owner + 1)
    with (
        pytest.raises(RunDirectoryError, match="belongs to another user"),
        lock_run_directory(tmp_path),
    ):
        pass
    monkeypatch.setattr(safe_files.os, "geteuid", lambda: owner)
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)


def test_a_directory_that_nobody_ran_in_is_not_locked_and_stays_as_it_is(tmp_path):
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _said(**fields):
    return json.dumps({"host": "here", "pid": 7, **fields}).encode()


@each_case(
    "text",
    [
        b"",
        b'{"host": "he',
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b"[" * 1000,
        b"x" * 100_000,
        _said(host="a\x1b[2Jb"),
        _said(host=["here"]),
        _said(host="h" * 300),
        _said(pid=0),
        _said(pid=True),
        _said(pid="7"),
        _said(pid=10**40),
    ],
)
def test_a_torn_or_hostile_text_about_the_holder_is_left_out(tmp_path, text):
    with lock_run_directory(tmp_path):
        (tmp_path / ".crucible" / HOLDER).write_bytes(text)
        with pytest.raises(RunBusyError) as caught, lock_run_directory(tmp_path):
            pass
    assert caught.value.message == f"another run holds {tmp_path}"


def test_a_second_name_of_another_file_keeps_its_content(tmp_path):
    (tmp_path / ".crucible").mkdir()
    (tmp_path / "elsewhere").write_text("not ours")
    (tmp_path / ".crucible" / HOLDER).hardlink_to(tmp_path / "elsewhere")
    with lock_run_directory(tmp_path):
        assert read_holder(tmp_path / ".crucible").pid == os.getpid()
    assert (tmp_path / "elsewhere").read_text() == "not ours"


@pytest.mark.parametrize("planted", ["fifo", "directory", "link"])
def test_what_stands_where_the_text_goes_keeps_nobody_from_running(tmp_path, planted):
    place = tmp_path / ".crucible" / HOLDER
    place.parent.mkdir()
    (tmp_path / "precious").write_text("precious")
    match planted:
        case "fifo":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to(tmp_path / "precious")
    with lock_run_directory(tmp_path), pytest.raises(RunBusyError), lock_run_directory(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_reader_for_a_moment_keeps_no_run_out(tmp_path, monkeypatch):
    with lock_run_directory(tmp_path):
        pass
    looking = FileLock(tmp_path / ".crucible" / "lock")
    looking.acquire()
    monkeypatch.setattr("time.sleep", lambda _seconds: looking.release())
    with lock_run_directory(tmp_path):
        assert not looking.is_locked


def _deleted(path):
    path.unlink()


def _replaced(path):
    path.rename(path.with_name("other"))
    path.touch()


def _folder_gone(path):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("tampered", [_deleted, _replaced, _folder_gone])
def test_whatever_becomes_of_the_file_that_is_locked_no_second_run_is_let_in(tmp_path, tampered):
    with lock_run_directory(tmp_path):
        tampered(tmp_path / ".crucible/lock")
        assert is_locked(tmp_path)
        with pytest.raises(RunBusyError), lock_run_directory(tmp_path):
            pass
    assert not is_locked(tmp_path)


def test_where_a_directory_can_not_be_locked_its_file_is(tmp_path, monkeypatch):
    def of_files_alone(descriptor, kind):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "as NFS says")
        return flock(descriptor, kind)

    flock = lock.fcntl.flock
    monkeypatch.setattr(lock.fcntl, "flock", of_files_alone)
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(RunBusyError), lock_run_directory(tmp_path):
            pass
    assert not is_locked(tmp_path)


def test_a_directory_that_was_replaced_while_it_was_locked_is_locked_once_more(
    tmp_path, monkeypatch
):
    run, flock, moved = tmp_path / "run", lock.fcntl.flock, []

    def moving(descriptor, kind):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and not moved:
            moved.append(run.rename(tmp_path / "moved"))
            shutil.copytree(moved[0], run)
        return flock(descriptor, kind)

    monkeypatch.setattr(lock.fcntl, "flock", moving)
    with lock_run_directory(run):
        assert is_locked(run)
        assert not is_locked(moved[0])


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL]
)
def test_a_file_system_without_locks_is_refused_and_nothing_runs_unlocked(
    tmp_path, monkeypatch, number
):
    def refuse(_descriptor, _operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(RunDirectoryError, match="has no file locks") as caught,
        lock_run_directory(tmp_path),
    ):
        pytest.fail("it runs unlocked")
    assert caught.value.exit_code == 2
    assert is_locked(tmp_path) is False
    assert [path.name for path in (tmp_path / ".crucible").iterdir()] == ["lock"]


def test_the_folder_of_a_manifest_and_its_run_directories_are_locked_apart(tmp_path):
    with lock_results(tmp_path), lock_run_directory(tmp_path / "run"):
        assert is_locked(tmp_path)
        with (
            pytest.raises(RunBusyError, match=re.escape(f"another run holds {tmp_path}: ")),
            lock_results(tmp_path),
        ):
            pass
        with pytest.raises(RunBusyError, match=f"process {os.getpid()} on ") as caught:
            refuse_if_locked(tmp_path / "run")
        assert "--if-running wait" in caught.value.hint
    refuse_if_locked(tmp_path / "run")
    refuse_if_locked(tmp_path / "missing")
    with lock_results(tmp_path):
        pass

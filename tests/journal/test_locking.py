"""One run at a time in a directory, whatever becomes of the first."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from crucible_batch.errors import RunBusyError, RunDirectoryError
from crucible_batch.journal import is_locked, lock_run_directory

HOLDER = """
    import sys
    from pathlib import Path
    from crucible_batch.journal import lock_run_directory

    with lock_run_directory(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_another_process_is_kept_out_until_the_holder_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunBusyError) as caught, lock_run_directory(tmp_path):
            pass
        assert caught.value.exit_code == 6
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not is_locked(tmp_path)
    with lock_run_directory(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_directory_is_made_where_there_is_none(tmp_path):
    with lock_run_directory(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_a_directory_that_can_not_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError), lock_run_directory(tmp_path / "file" / "out"):
        pass


def test_a_directory_that_nobody_ran_in_is_not_locked_and_stays_as_it_is(tmp_path):
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []

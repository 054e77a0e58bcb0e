"""A journal in use keeps its locks, whatever the same process reads meanwhile, so no other process
takes its log away.

The judge is another process, which knows the file and SQLite's documented lock bytes, and nothing
of the program.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.journal.database import has_journal
from crucible_batch.runs.run_list import list_runs
from crucible_batch.runs.status import read_status
from tests.harness.job_events import held_event
from tests.harness.run_terms import run_terms
from tests.unit.journal.conftest import Ground

OTHER_PROCESS = """
import fcntl, os, sqlite3, struct, sys
path = sys.argv[1]
# The bytes that SQLite locks in a database file (PENDING, RESERVED, SHARED: "File Locking",
# 0x40000000 to +512), and in the shared memory of WAL mode, the one that each connection holds
# while it is open (128, "dead man's switch").
for name, first, count in ((path, 0x40000000, 512), (path + "-shm", 128, 1)):
    descriptor = os.open(name, os.O_RDWR)
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    holder = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, request))
    print("free" if holder[0] == fcntl.F_UNLCK else holder[4])
    os.close(descriptor)
connection = sqlite3.connect(path, timeout=0, isolation_level=None)
print(connection.execute("SELECT count(*) FROM events").fetchone()[0])
connection.close()  # the last connection to a database removes its write-ahead log
print("kept" if os.path.exists(path + "-wal") else "removed")
"""


def file_of(directory: Path) -> Path:
    return directory / ".crucible" / "journal.sqlite3"


def seen_by_another_process(directory: Path) -> list[str]:
    """Return who holds the locks of the file and of its shared memory, the number of events, and
    what became of the log after the other process has closed its connection."""
    words = [sys.executable, "-IS", "-c", OTHER_PROCESS, str(file_of(directory))]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=240)
    return done.stdout.split()


def append(journal: Journal, number: int) -> None:
    """Store one event in the journal's write-ahead log."""
    event = held_event(1, at=float(number), key=f"key-{number}", price_class="w")
    asyncio.run(journal.append(f"job-{number}", event))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A run directory below the one of the test, so that a list of runs has only this one."""
    directory = tmp_path / "outputs" / "default"
    directory.mkdir(parents=True)
    return Ground(directory)


@pytest.fixture
def used(ground: Ground) -> Iterator[Journal]:
    """A journal that this process has open as a run does: locked, with the run's row, and a log."""
    terms = run_terms(9, 1, manifest_name="campaign", attempts=1)
    with lock_run_directory(ground.directory), ground.open() as journal, ground.plan("a") as plan:
        journal.adopt(plan)
        journal.begin_run(terms, now=1.0)
        append(journal, 1)
        yield journal


def read_all(directory: Path) -> None:
    with Journal.read(directory) as journal:
        journal.binding()


READERS: dict[str, Callable[[Path], object]] = {
    "has_journal": has_journal,
    "Journal.exists": Journal.exists,
    "Journal.read": read_all,
    "read_status": read_status,
    "list_runs": lambda directory: list_runs(directory.parent),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_reader_in_the_process_of_a_run_leaves_its_locks(
    ground: Ground, used: Journal, reader: Any
) -> None:
    ours = str(os.getpid())
    assert seen_by_another_process(ground.directory) == [ours, ours, "1", "kept"]
    reader(ground.directory)
    assert seen_by_another_process(ground.directory) == [ours, ours, "1", "kept"]
    append(used, 2)
    assert seen_by_another_process(ground.directory)[2:] == ["2", "kept"]

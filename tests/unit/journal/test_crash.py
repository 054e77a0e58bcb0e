"""What was acknowledged outlives kill -9 and a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.journal import Journal

HEAD = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from crucible_batch.core.events import Reopened
from crucible_batch.errors import JournalError
from crucible_batch.journal import Binding, Journal

directory = Path(sys.argv[1])
binding = Binding("campaign", "default", "https://gateway.example/")

def acknowledge(text):
    os.write(1, f"{text}\\n".encode())
"""

SIXTEEN_PRODUCERS = (
    HEAD
    + """
async def produce(journal, number):
    count = 0
    while True:
        await journal.append(f"job-{number}", Reopened(at=float(count)))
        acknowledge(f"{number} {count}")
        count += 1

async def main():
    with Journal.open(directory, binding, now=1.0) as journal:
        await asyncio.gather(*(produce(journal, number) for number in range(16)))

asyncio.run(main())
"""
)

FULL_DISK = (
    HEAD
    + """
async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Journal.open(directory, binding, now=1.0) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        for count in range(100_000):
            try:
                async with asyncio.timeout(120):
                    await journal.append("job", Reopened(at=float(count)))
            except JournalError as error:
                acknowledge(f"JournalError {bool(error.hint)}")
                break
            acknowledge(f"0 {count}")
        try:
            await journal.append("job", Reopened(at=-1.0))
        except JournalError:
            acknowledge("final")

asyncio.run(main())
"""
)


def acknowledged(output: str) -> set[tuple[str, float]]:
    """What whole lines say; the last one may be cut."""
    lines = [line.split() for line in output.rpartition("\n")[0].splitlines()]
    return {(f"job-{number}", float(count)) for number, count in lines}


def written(directory: Path) -> list[tuple[str, float]]:
    with Journal.read(directory) as journal:
        return [(subject, event.at) for subject, event in journal.events()]


@pytest.mark.parametrize("lines", [1, 50, 400])
def test_every_acknowledged_event_outlives_kill_9(ground: Any, lines: int) -> None:
    command = [sys.executable, "-c", SIXTEEN_PRODUCERS, str(ground.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            output = "".join(process.stdout.readline() for _ in range(lines))
        finally:
            os.kill(process.pid, signal.SIGKILL)
        output += process.stdout.read()
    promised = acknowledged(output)
    assert len(promised) >= lines
    found = written(ground.directory)
    assert promised <= set(found)
    assert len(found) == len(set(found))
    for number in range(16):  # each producer's own order is kept, without a gap
        mine = [at for subject, at in found if subject == f"job-{number}"]
        assert mine == [float(count) for count in range(len(mine))]


def test_a_full_disk_is_an_error_and_not_a_hang(ground: Any) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(ground.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *promised, error, final = done.stdout.splitlines()
    assert (error, final) == ("JournalError True", "final")
    assert len(promised) > 10
    # What was journalled is intact, and the next run goes on from it.
    found = written(ground.directory)
    counts = [float(line.split()[1]) for line in promised]
    assert [at for _, at in found][: len(counts)] == counts
    with ground.open() as journal:
        assert len(list(journal.events())) == len(found)

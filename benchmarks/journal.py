"""The journal: many producers beside a transaction for each event, one beside one transaction, and
kills.

The floor is SQLite with the same table and the same settings, from one thread, without a word of
ours. Both sides take turns on the same disk, so that what it does meanwhile is done to both.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.row import Row
from crucible_batch.core.events import Reopened
from crucible_batch.journal import Binding, Journal

PRODUCERS = 64
_LEAST_GAIN, _MOST_DELAY, _KILLS = 10.0, 1.2, 100
_WHY_MANY = (
    "the gain comes from syncs that 64 producers share, so it is small on a disk with fast syncs"
)
_WHY_ALONE = (
    "each event needs two thread switches, to the writer and back, of 20 to 30 µs each; "
    "their share is larger on a disk with fast syncs or a busy processor"
)
_BINDING = Binding("m", "r", "g")
_APPEND = "INSERT INTO events (subject, type, body) VALUES (?, ?, ?)"


def floor(directory: Path) -> sqlite3.Connection:
    """Open a database as the journal does."""
    connection = sqlite3.connect(directory / "floor.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, "
        "type TEXT NOT NULL, body TEXT NOT NULL)"
    )
    connection.execute("CREATE INDEX events_by_subject ON events (subject, seq)")
    return connection


def transact(connection: sqlite3.Connection, number: int) -> None:
    """Write one event in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_APPEND, (f"job-{number % PRODUCERS}", "Reopened", '{"at":1.0}'))
    connection.execute("COMMIT")


async def produce(journal: Journal, events: int, *, producers: int) -> None:
    """Have so many producers write that many events together, each waiting for its own."""

    async def write(name: str) -> None:
        for number in range(events // producers):
            await journal.append(name, Reopened(at=float(number)))

    async with asyncio.TaskGroup() as group:
        for number in range(producers):
            group.create_task(write(f"job-{number}"))


def many(journal: Journal, connection: sqlite3.Connection, *, rounds: int) -> Row:
    """Let 64 producers and a transaction for each event take turns."""
    ours, floors = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for number in range(1000):
            transact(connection, number)
        floors.append(1000 / (time.perf_counter() - began))
        began = time.perf_counter()
        asyncio.run(produce(journal, 100 * PRODUCERS, producers=PRODUCERS))
        ours.append(100 * PRODUCERS / (time.perf_counter() - began))
    gain = statistics.median(our / floor for our, floor in zip(ours, floors, strict=True))
    note = (
        f"{statistics.median(ours):,.0f} events/s, "
        f"a transaction each {statistics.median(floors):,.0f}"
    )
    return Row(
        f"journal, {PRODUCERS} producers", f">= {_LEAST_GAIN:.0f}x a transaction each",
        f"{gain:.1f}x", gain >= _LEAST_GAIN, note, _WHY_MANY,
    )  # fmt: skip


def alone(journal: Journal, connection: sqlite3.Connection, *, times: int) -> Row:
    """Let one producer and one transaction take turns, event by event."""
    ours, floors = [], []

    async def measure() -> None:
        for number in range(times):
            began = time.perf_counter()
            transact(connection, number)
            done = time.perf_counter()
            await journal.append("job", Reopened(at=float(number)))
            floors.append(done - began)
            ours.append(time.perf_counter() - done)

    asyncio.run(measure())
    our, one = statistics.median(ours), statistics.median(floors)
    note = f"medians of {times}: {our * 1e6:.0f} µs, one transaction {one * 1e6:.0f} µs"
    return Row(
        "journal, a lone producer", f"<= {_MOST_DELAY}x one transaction", f"{our / one:.2f}x",
        our / one <= _MOST_DELAY, note, _WHY_ALONE,
    )  # fmt: skip


def killed(directory: Path, lines: int) -> tuple[int, int]:
    """Kill 64 producers after so many acknowledgements; return how many there were, and how many of
    them were lost."""
    command = [sys.executable, "-m", "benchmarks.journal", "--produce", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(lines))
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.read()
    whole = said.rpartition("\n")[0].splitlines()
    promised = {(name, float(number)) for name, number in (line.split() for line in whole)}
    with Journal.read(directory) as journal:
        kept = {(subject, event.at) for subject, event in journal.events()}
    return len(promised), len(promised - kept)


async def produce_and_tell(directory: Path) -> None:
    """Write until killed, saying of each event that it is durable."""
    with Journal.open(directory, _BINDING, now=1.0) as journal:

        async def write(name: str) -> None:
            number = 0
            while True:
                await journal.append(name, Reopened(at=float(number)))
                os.write(1, f"{name} {number}\n".encode())
                number += 1

        async with asyncio.TaskGroup() as group:
            for number in range(PRODUCERS):
                group.create_task(write(f"job-{number}"))


def kills(times: int) -> Row:
    """Kill it that many times, each at another moment."""
    chance = random.Random(5)
    acknowledged = lost = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            promised, missing = killed(Path(folder), chance.randint(1, 2000))
        acknowledged, lost = acknowledged + promised, lost + missing
    return Row(
        f"journal, {times} kills -9", "no acknowledged event lost", f"{lost} lost", lost == 0,
        f"of {acknowledged:,} acknowledged events",
    )  # fmt: skip


def rows(quick: bool) -> Iterator[Row]:
    """Measure many producers, one, and kills."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(floor(Path(folder))) as connection,
        Journal.open(Path(folder), _BINDING, now=1.0) as journal,
    ):
        yield many(journal, connection, rounds=3 if quick else 9)
        yield alone(journal, connection, times=300 if quick else 3000)
    yield kills(10 if quick else _KILLS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--produce"]:
        asyncio.run(produce_and_tell(Path(sys.argv[2])))
    else:
        print(*rows("--quick" in sys.argv), sep="\n")

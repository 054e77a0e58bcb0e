"""A run keeps nothing of a job that is over, and asks little of its journal: counted, since seconds
differ.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from benchmarks.memory import run
from crucible_batch.core.events import Saved
from crucible_batch.core.progress import JobAdvanced, Message
from crucible_batch.journal import Journal

EARLY, LATE, JOBS = 512, 1536, 1537
"""Multiples of the pages in which the queue is read, so that as many jobs are read ahead at both.
"""


class Counting:
    """Counts what the interpreter has allocated when so many outputs are saved."""

    def __init__(self) -> None:
        self.saved = 0
        self.blocks: dict[int, int] = {}

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self.saved += 1
            if self.saved in {EARLY, LATE}:
                gc.collect()
                self.blocks[self.saved] = sys.getallocatedblocks()


def fill_pydantics_cache() -> None:
    """It keeps the last 16,384 strings that it has read, which would look like a leak until it is
    full."""
    TypeAdapter(list[str]).validate_json(json.dumps([f"{number:060}" for number in range(200_000)]))


@pytest.mark.slow
def test_not_one_object_is_left_of_a_job_that_is_over(tmp_path: Path) -> None:
    fill_pydantics_cache()
    watch = Counting()
    run(tmp_path, JOBS, in_flight=1, observer=watch)
    assert watch.blocks[LATE] - watch.blocks[EARLY] < (LATE - EARLY) / 2


def test_a_run_asks_its_journal_for_pages_and_writes_five_events_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: Counter[str] = Counter()
    connect = Journal._connect

    def traced(journal: Journal) -> sqlite3.Connection:
        connection = connect(journal)
        connection.set_trace_callback(lambda sql: statements.update([" ".join(sql.split()[:3])]))
        return connection

    monkeypatch.setattr(Journal, "_connect", traced)
    run(tmp_path, 320)
    assert statements["INSERT INTO events"] == 5 * 320
    assert statements["INSERT INTO plan"] == 320
    # One look for each job that was accepted, by an index: whether its id is another's.
    assert statements.pop("SELECT DISTINCT subject") == 320
    # Four readings of five pages each: the survey, the queue, the count and twice for the report.
    assert sum(count for sql, count in statements.items() if sql.startswith("SELECT")) < 60
    assert statements["COMMIT"] <= 5 * 320 + 10

"""Journals that earlier releases wrote mean today what they meant then: keys, phases, credits, to
the last digit.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal import Journal
from tests.unit.journal.kept.make import KEPT, understood

JOURNALS = sorted(path.parent.relative_to(KEPT) for path in KEPT.glob("*/*/journal.sqlite3"))


@pytest.fixture(params=JOURNALS, ids=str)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    """A run directory with a copy of a kept journal, and what its own release made of it."""
    (tmp_path / "run" / ".crucible").mkdir(parents=True)
    shutil.copyfile(
        KEPT / request.param / "journal.sqlite3", tmp_path / "run" / ".crucible" / "journal.sqlite3"
    )
    return tmp_path / "run", json.loads((KEPT / request.param / "understood.json").read_text())


def test_there_are_journals_of_runs_that_ended_and_of_runs_that_were_killed():
    assert {path.name for path in JOURNALS} == {"ended", "killed"}


def test_a_kept_journal_is_understood_as_its_own_release_understood_it(kept):
    run_dir, then = kept
    assert understood(run_dir) == then


def test_a_kept_journal_can_be_gone_on_with_and_loses_nothing_by_it(kept):
    run_dir, then = kept
    with Journal.read(run_dir) as journal:
        binding = journal.binding()
    with Journal.open(run_dir, binding, now=1.0) as journal:
        for _, job in journal.jobs(RetryRule()):
            assert all(
                attempt.key == idempotency_key(job.identity, attempt.number)
                for attempt in job.attempts
            )
    assert understood(run_dir) == then

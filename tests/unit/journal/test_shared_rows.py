"""The rows of a journal that another machine continues: what they have, and what they don't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crucible_batch.core.retry_rule import ONCE
from crucible_batch.errors import JournalError
from crucible_batch.journal import Journal, JournalRows, PlanFile, add_rows, rows_after
from tests.harness.run_terms import run_terms
from tests.harness.shard_ground import BINDING, bought, planned

Opened = Callable[..., Journal]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Return a function that opens a new journal whose plan has jobs at the places given."""
    with ExitStack() as stack:

        def opened(name: str, *positions: int) -> Journal:
            journal = stack.enter_context(Journal.open(tmp_path / name, BINDING, now=1.0))
            adopt(journal, *positions)
            return journal

        yield opened


def adopt(journal: Journal, *positions: int) -> None:
    with PlanFile.temporary() as plan:
        plan.fill(planned(position) for position in positions)
        journal.adopt(plan)


def buy(journal: Journal, position: int) -> None:
    journal.restore([(planned(position).identity, bought(position, 1.0))])


def identities(rows: JournalRows) -> set[str]:
    return {identity for identity, _ in rows.planned}


def test_a_job_comes_with_its_first_event_and_not_again(opened: Opened) -> None:
    journal = opened("a", 0, 1, 2)
    buy(journal, 0)
    first = rows_after(journal, 0)
    assert identities(first) == {planned(0).identity}
    buy(journal, 0)
    buy(journal, 2)
    assert identities(rows_after(journal, first.last)) == {planned(2).identity}
    assert identities(rows_after(journal, 0)) == {planned(0).identity, planned(2).identity}


def test_a_retired_job_comes_too(opened: Opened) -> None:
    journal = opened("a", 0)
    buy(journal, 0)
    adopt(journal, 1)
    assert identities(rows_after(journal, 0)) == {planned(0).identity}


def test_a_journal_made_again_has_the_jobs_that_were_begun(opened: Opened) -> None:
    """In the plan, until a manifest says which of them it asks for."""
    journal = opened("a", 0, 1, 2)
    buy(journal, 0)
    buy(journal, 2)
    again = opened("b")
    add_rows(again, [rows_after(journal, 0)])
    assert [job.position for job in again.plan()] == [0, 2]
    assert list(again.numbered_events()) == list(journal.numbered_events())
    adopt(again, 1, 2)
    assert [job.identity for job, _ in again.retired()] == [planned(0).identity]
    assert again.job(planned(2), ONCE).attempts


def test_of_two_jobs_at_one_place_the_earlier_is_retired(opened: Opened) -> None:
    """As an earlier generation, or a job that has left the manifest."""
    journal = opened("a", 0)
    buy(journal, 0)
    first = rows_after(journal, 0)
    other = opened("b", 1)
    buy(other, 1)
    (row,) = rows_after(other, 0).planned
    moved = (row[0], row[1].replace('"position":1', '"position":0'))
    later = JournalRows(planned=(moved,))
    again = opened("c")
    add_rows(again, [first, later])
    assert list(again.identities()) == [row[0]]
    assert [job.identity for job, _ in again.retired()] == [planned(0).identity]


def test_notes_about_one_machine_are_not_shared(opened: Opened) -> None:
    journal = opened("a")
    journal.remember_key("k")
    for name in ("report", "published", "log_writers", "rejects file"):
        journal.note(name, "here")
    for name in ("shards", "takes", "budget id", "budget allowance ab", "outputs_at"):
        journal.note(name, "v")
    assert rows_after(journal, 0).notes == {
        "key": "k", "shards": "v", "takes": "v", "budget id": "v", "budget allowance ab": "v",
        "outputs_at": "v",
    }  # fmt: skip


def test_runs_and_notes_that_are_known_are_left_out_and_changed_ones_replace_them(
    opened: Opened,
) -> None:
    journal = opened("a")
    journal.note("takes", "1")
    journal.begin_run(run_terms(), now=1.0)
    first = rows_after(journal, 0)
    assert first.changed_since(first) == JournalRows()
    journal.note("takes", "2")
    journal.begin_run(run_terms(), now=2.0)
    changed = rows_after(journal, 0).changed_since(first)
    assert (changed.notes, [run[0] for run in changed.runs]) == ({"takes": "2"}, [2])
    again = opened("b")
    add_rows(again, [first, changed])
    assert again.noted("takes") == "2"
    assert len(again.runs()) == 2


def test_a_job_that_is_not_json_is_an_error_of_the_journal(opened: Opened) -> None:
    again = opened("a")
    with pytest.raises(JournalError, match="malformed JSON"):
        add_rows(again, [JournalRows(planned=(("a" * 64, "{"),))])

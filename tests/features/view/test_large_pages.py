"""The page of a run of many jobs: it has the first ones only, until all of them have been read."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.features.view import pages
from crucible_batch.features.view.pages import run_data, run_page
from crucible_batch.features.view.watching import Watch
from tests.unit.journal.kept.make import KEPT

JOURNAL = sorted(KEPT.glob("*/*/journal.sqlite3"))[0]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    (tmp_path / ".crucible").mkdir()
    shutil.copyfile(JOURNAL, tmp_path / ".crucible" / "journal.sqlite3")
    monkeypatch.setattr(pages, "MOST_JOBS_AT_ONCE", 2)
    monkeypatch.setattr(pages, "FIRST_JOBS", 1)
    return Watch(tmp_path)


def opened(watch: Watch) -> Any:
    """Return the data of the page."""
    html = run_page(watch, "key", is_controlled=False).html
    return json.loads(html.partition('id="report">')[2].partition("</script>")[0])


def test_the_page_of_many_jobs_has_the_first_and_leaves_the_rest_to_its_script(
    watch: Watch,
) -> None:
    first = opened(watch)
    complete = json.loads(run_data(watch, "key"))
    assert first["live"]["rest"] is True
    assert first["jobs"] == complete["jobs"][:1]
    assert first["counts"]["total"] == len(complete["jobs"]) > 2
    assert not complete["live"].get("rest")


def test_what_was_read_once_is_kept_until_the_journal_changes(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = json.loads(run_data(watch, "key"))
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "rows", lambda _watch: pytest.fail("read again"))
        again = opened(watch)
        assert again["live"]["rest"] is False
        assert again["jobs"] == complete["jobs"]
        assert json.loads(run_data(watch, "key"))["jobs"] == complete["jobs"]
    journal = watch.run_dir / ".crucible" / "journal.sqlite3"
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("DELETE FROM events WHERE type = 'Saved'")
    assert opened(watch)["live"]["rest"] is True
    fresh = json.loads(run_data(Watch(watch.run_dir), "key"))
    assert json.loads(run_data(watch, "key"))["jobs"] == fresh["jobs"] != complete["jobs"]


def test_a_page_of_few_jobs_has_all_of_them(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_JOBS_AT_ONCE", 1000)
    data = opened(watch)
    assert data["live"]["rest"] is False
    assert len(data["jobs"]) == data["counts"]["total"]

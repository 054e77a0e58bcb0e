"""The user's list of runs: newest first, bounded, and empty where it can't be used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crucible_batch.core.events import Event, HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.journal import Binding, Journal
from crucible_batch.runs import earlier_runs
from crucible_batch.runs.earlier_runs import (
    RememberedRun,
    find_earlier_run,
    list_file,
    recall,
    remember,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event
from tests.harness.run_terms import run_terms

PLACES = [
    ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/crucible-batch/runs.json"),
    ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/crucible-batch/runs.json"),
    ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/crucible-batch/runs.json"),
    ({"HOME": "relative"}, None),
    ({}, None),
]


@each_case("environ, place", PLACES)
def test_the_list_is_in_the_state_directory_of_the_environment(
    environ: dict[str, str], place: str | None
) -> None:
    assert list_file(environ) == (None if place is None else Path(place))


def entry(folder: Path, directory: str, run_id: str = "default") -> RememberedRun:
    return RememberedRun.of(folder / "m.yaml", run_id, folder / directory)


def recalled(file: Path, folder: Path, run_id: str = "default") -> list[str]:
    return [path.name for path in recall(file, folder / "m.yaml", run_id)]


def test_directories_come_newest_first_and_once(tmp_path: Path) -> None:
    file = tmp_path / "state/runs.json"
    assert recalled(file, tmp_path) == []
    for name in ("a", "b", "a"):
        remember(file, entry(tmp_path, name))
    remember(file, entry(tmp_path, "c", run_id="other"))
    assert recalled(file, tmp_path) == ["a", "b"]
    assert recalled(file, tmp_path, "other") == ["c"]
    assert recalled(file, tmp_path / "elsewhere") == []
    assert (file.parent.stat().st_mode & 0o777, len(list(file.parent.iterdir()))) == (0o700, 1)


def test_a_manifest_is_known_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    remember(tmp_path / "runs.json", entry(tmp_path / "link", "a"))
    assert recalled(tmp_path / "runs.json", tmp_path) == ["a"]


def test_the_list_has_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_runs, "MOST_ENTRIES", 2)
    for name in "abc":
        remember(tmp_path / "runs.json", entry(tmp_path, name))
    assert recalled(tmp_path / "runs.json", tmp_path) == ["c", "b"]


BROKEN = [
    b"",
    b"\xff",
    b"{}",
    b"5",
    b"[" * 100_000,
    (
        b'[5, null, [], "x", {}, {"manifest": 5, "run_id": "default", "run_dir": "a"}, '
        b'{"manifest": "a", "more": "b"}]'
    ),
    b'[{"manifest": "/m.yaml", "run_id": "default", "run_dir": "a\\u0000"}]',
    b'[{"manifest": "/m.yaml", "run_id": "default", "run_dir": "a\\ud800"}]',
]


@pytest.mark.parametrize("text", ["a\\u0000", "a\\ud800"])
def test_a_directory_that_no_file_system_has_is_passed_over(tmp_path: Path, text: str) -> None:
    manifest = os.path.realpath(tmp_path / "a.yaml")
    content = f'[{{"manifest": "{manifest}", "run_id": "default", "run_dir": "{text}"}}]'
    (tmp_path / "runs.json").write_text(content)
    assert list(recall(tmp_path / "runs.json", tmp_path / "a.yaml", "default")) == []


@each_case("content", BROKEN)
def test_a_list_that_is_damaged_counts_as_empty_and_is_replaced(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "runs.json"
    file.write_bytes(content)
    assert recalled(file, tmp_path) == []
    remember(file, entry(tmp_path, "a"))
    assert recalled(file, tmp_path) == ["a"]
    assert len(json.loads(file.read_text())) == 1


KEY = "moltazine_key_of_earlier_runs"
HELD = held_event(4, key="key", shape="s", images=False)
ACCEPTED = accepted_event(4, at=2.0)
RELEASED = HoldReleased(at=2.0, error=ErrorInfo("PAYMENT_REQUIRED", "no credits"))


@each_case(
    "events, is_found",
    [([], False), ([HELD, RELEASED], False), ([HELD], True), ([HELD, ACCEPTED], True)],
)
def test_a_run_is_an_earlier_one_if_it_bought_something_or_may_have(
    tmp_path: Path, events: list[Event], is_found: bool
) -> None:
    """A submit without an answer may have been charged, and another directory would send it under
    another key."""
    manifest, binding = tmp_path / "m.yaml", Binding("m", "default", "https://gateway.test")
    earlier = tmp_path / "outputs" / "m" / "default"
    terms = run_terms(5, manifest_path=str(manifest))
    with Journal.open(earlier, binding, now=0.0) as journal:
        journal.begin_run(terms, now=0.0)
        journal.restore([("fox", events)])
    found = find_earlier_run(tmp_path / "elsewhere", manifest, binding, KEY)
    assert (found is not None) is is_found


def test_a_list_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for file in (None, tmp_path / "file/runs.json", tmp_path):
        remember(file, entry(tmp_path, "a"))
        assert list(recall(file, tmp_path / "m.yaml", "default")) == []

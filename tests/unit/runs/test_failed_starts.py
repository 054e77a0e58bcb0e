"""Runs that did not start: which are recorded, what `runs` shows of them, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crucible_batch.errors import (
    ConsentError,
    CrucibleBatchError,
    EarlierRunError,
    GatewayError,
    RunBusyError,
    UserError,
)
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.runs.draft import read_source, run_directory, run_terms
from crucible_batch.runs.earlier_runs import (
    MOST_FAILED,
    RememberedRun,
    list_file,
    recall,
    remember,
    remember_run,
    remembered,
)
from crucible_batch.runs.failed_starts import FailedStart, failed_starts, record_failed_start
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_list import RunState, list_runs
from tests.harness.case_table import each_case

NOW = datetime(2026, 11, 26, 1, 37, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 11, 26, 1, 20, tzinfo=UTC)
NIGHTLY = 'run_id: "{{ date }}"\ntimezone: Asia/Tokyo\n'
DOWN = GatewayError(
    "Something went wrong.", code="INTERNAL_ERROR", operation="workflow", status=500, hint="later"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def request(name: str = "nightly", head: str = NIGHTLY, **fields: object) -> RunRequest:
    path = Path(f"{name}.yaml")
    path.write_text(
        f"version: 1\nname: {name}\nworkflow: zimage-base\n"
        f"{head}jobs: [{{name: fox, prompt: a fox}}]\n"
    )
    return replace(RunRequest(path), **fields)  # type: ignore[arg-type]


def fail(
    asked: RunRequest, error: CrucibleBatchError = DOWN, *, now: float = NOW, can_ask: bool = False
) -> list[FailedStart]:
    manifest = read_source(asked)
    terms = run_terms(manifest, asked)
    directory = run_directory(asked.out_dir, terms)
    record_failed_start(
        asked, error, now, manifest=manifest, terms=terms, directory=directory, can_ask=can_ask
    )
    return list(failed_starts(Path("outputs")))


def test_a_run_that_did_not_start_has_its_scheduled_time_in_the_zone_of_its_manifest() -> None:
    (found,) = fail(request(scheduled_at=NIGHT))
    assert (found.name, found.run_id, found.code, found.hint) == (
        "nightly",
        "2026-11-26",
        "INTERNAL_ERROR",
        "later",
    )
    assert found.at.isoformat() == "2026-11-26T10:20:00+09:00"
    command = (
        "crucible-batch run nightly.yaml --run-id 2026-11-26 --scheduled-at 2026-11-26T01:20:00Z"
    )
    assert (found.manifest, found.command) == (Path("nightly.yaml"), command)


def test_without_a_scheduled_time_it_has_the_time_at_which_it_was_tried() -> None:
    (found,) = fail(request(head=""))
    assert found.at.timestamp() == NOW
    assert found.command == "crucible-batch run nightly.yaml"


@each_case(
    "fields, options",
    [
        ({"yes": True}, " --yes"),
        ({"run_id": "second"}, " --run-id second"),
        ({"out_dir": Path("outputs/elsewhere")}, " --out-dir outputs/elsewhere"),
    ],
)
def test_its_command_repeats_the_options_of_the_run(
    fields: dict[str, object], options: str
) -> None:
    found = fail(request(head="", **fields))[0]
    assert found.command == f"crucible-batch run nightly.yaml{options}"


def test_a_manifest_that_cannot_be_read_is_named_by_its_path() -> None:
    asked = request(scheduled_at=NIGHT)
    record_failed_start(asked, UserError("broken", hint="mend it"), NOW)
    (found,) = failed_starts(Path("outputs"))
    assert (found.name, found.run_id, found.manifest) == ("", "", Path("nightly.yaml"))
    assert fail(asked)[0].name == "nightly"
    assert len(fail(asked)) == 1


@each_case(
    "error, can_ask, is_recorded",
    [
        (RunBusyError("another run", hint="wait"), False, False),
        (ConsentError("no budget", hint="set one"), True, False),
        (ConsentError("no budget", hint="set one"), False, True),
        (EarlierRunError(Path("a"), Path("b"), "a"), True, False),
        (EarlierRunError(Path("a"), Path("b"), "a"), False, True),
        (ObjectStoreError("not usable", hint="later"), True, True),
    ],
)
def test_what_is_recorded(error: CrucibleBatchError, can_ask: bool, is_recorded: bool) -> None:
    listed = list_file({"XDG_STATE_HOME": str(Path("state").absolute())})
    listed.unlink(missing_ok=True)  # type: ignore[union-attr]
    assert bool(fail(request(), error, can_ask=can_ask)) is is_recorded


def test_it_is_gone_once_the_run_has_begun_or_the_manifest_is_deleted() -> None:
    asked = request(scheduled_at=NIGHT)
    fail(asked)
    fail(replace(asked, scheduled_at=NIGHT.replace(day=27)))
    remember_run(asked.manifest, "2026-11-26", Path("outputs/nightly/2026-11-26"))
    assert [run.run_id for run in failed_starts(Path("outputs"))] == ["2026-11-27"]
    asked.manifest.unlink()
    assert not list(failed_starts(Path("outputs")))


def test_it_is_listed_among_the_runs_of_its_directory() -> None:
    fail(request("one"))
    fail(request("two"), now=NOW + 60)
    listed = list_runs(Path("outputs")).runs
    assert [(run.state, run.run_dir.name) for run in listed] == [
        (RunState.NOT_STARTED, listed[0].run_dir.name)
    ] * 2
    assert list_runs(Path("outputs"), limit=1).found == 2
    assert not list_runs(Path("other")).runs


def test_failed_starts_never_displace_runs_that_have_begun() -> None:
    file = list_file({"XDG_STATE_HOME": str(Path("state").absolute())})
    begun = RememberedRun.of(Path("m.yaml"), "default", Path("out"))
    remember(file, begun)
    for number in range(MOST_FAILED + 5):
        remember(file, replace(begun, run_id=f"night-{number}", code="INTERNAL_ERROR"))
    runs = list(remembered(file))
    assert (runs[0], len(runs), runs[1].run_id) == (
        begun,
        MOST_FAILED + 1,
        f"night-{MOST_FAILED + 4}",
    )
    assert list(recall(file, Path("m.yaml"), f"night-{MOST_FAILED + 4}")) == []


def test_an_entry_that_was_edited_is_left_out() -> None:
    fail(request())
    file = Path("state/crucible-batch/runs.json")
    file.write_text(file.read_text().replace('"at": "', '"at": "about '))
    assert not list(failed_starts(Path("outputs")))

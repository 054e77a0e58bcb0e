"""``prune`` on real run directories: what goes, what stays, and that nothing is bought again."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import RunDirectoryError
from crucible_batch.features.prune import pruning
from crucible_batch.features.prune.pruning import Pruning, plan_pruning, prune_runs
from crucible_batch.features.prune.retention import KeepCause, PruneCause, RetentionRules
from crucible_batch.journal import lock_run_directory
from tests.harness.commands import Cli
from tests.harness.features import has_feature

KEPT = {"report.json", "receipts.jsonl", ".crucible", ".crucible/journal.sqlite3", ".crucible/lock"}
OUTPUTS = {
    "fox-1",
    "fox-1/0.png",
    "fox-1/0.png.json",
    "fox-2",
    "fox-2/0.png",
    "fox-2/0.png.json",
    "report.html",
}


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Path:
    """A folder with a manifest and three finished runs of it: ``a``, and later copies with other
    run ids.
    """
    cli = Cli(tmp_path_factory.mktemp("runs"), gateway)
    head = "provenance: {sidecar: true}\n"
    cli.write("nightly", "- {name: fox, prompt: a fox, repeat: 2}", head=head)
    assert cli("run", "nightly.yaml", "--run-id", "a", "-q").code == 0
    edit(
        cli, "a", "UPDATE runs SET started_at = started_at - 3600, finished_at = finished_at - 3600"
    )
    for later, run_id in enumerate("bc", 1):
        shutil.copytree(cli.cwd / "outputs/nightly/a", cli.cwd / f"outputs/nightly/{run_id}")
        edit(cli, run_id, f"UPDATE meta SET value = '{run_id}' WHERE key = 'run id'")
        edit(cli, run_id, f"UPDATE runs SET finished_at = finished_at + {later / 10}")
    return cli.cwd


def edit(cli: Cli, run_id: str, statement: str) -> None:
    """Change the journal of a run."""
    with closing(
        sqlite3.connect(cli.cwd / f"outputs/nightly/{run_id}/.crucible/journal.sqlite3")
    ) as journal:
        assert journal.execute(statement).rowcount > 0
        journal.commit()


@pytest.fixture
def nightly(cli: Cli, three_runs: Path) -> Cli:
    shutil.copytree(three_runs, cli.cwd, dirs_exist_ok=True)
    return cli


def names(directory: Path) -> set[str]:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*")}
    return {name for name in found if not name.startswith(".crucible/thumbnails")}


def planned(cli: Cli, **rules: Any) -> Pruning:
    return plan_pruning(cli.cwd / "outputs", rules=RetentionRules(**rules), now=time.time())


def prune(cli: Cli, **rules: Any) -> Pruning:
    return prune_runs(planned(cli, **rules), now=time.time())


def test_without_a_terminal_and_yes_it_only_shows(nightly: Cli) -> None:
    before = names(nightly.cwd)
    done = nightly("prune", "--keep", "2")
    assert (done.code, names(nightly.cwd)) == (0, before)
    lines = done.out.splitlines()
    assert lines[0].startswith("1 of 3 runs would be pruned, ")
    assert lines[1].startswith("  outputs/nightly/a   ")
    assert "not one of the newest --keep runs of its manifest" in lines[1]
    assert lines[-1] == "  next     crucible-batch prune --keep 2 --yes"
    assert nightly("prune", "--keep", "2", "--yes", "--dry-run").out.startswith(
        "1 of 3 runs would be pruned, "
    )
    assert names(nightly.cwd) == before


def test_outputs_go_and_the_journal_the_report_and_the_newest_run_stay(nightly: Cli) -> None:
    newest = names(nightly.cwd / "outputs/nightly/c")
    assert "   ended more than 1 s ago" in nightly("prune", "--older-than", "1s", "--dry-run").out
    done = nightly("prune", "--older-than", "1s", "--yes", "--json")
    data = done.envelope["data"]
    assert (done.code, data["pruned"], data["dry_run"]) == (0, 2, False)
    assert [(run["run_id"], run["prune"], run["keep"]) for run in data["runs"]] == [
        ("a", "age", None),
        ("b", "age", None),
        ("c", None, "newest"),
    ]
    assert data["byte_size"] > 10_000
    for run_id in "ab":
        assert names(nightly.cwd / f"outputs/nightly/{run_id}") == KEPT
    assert names(nightly.cwd / "outputs/nightly/c") == newest
    assert newest >= OUTPUTS | KEPT
    again = nightly("prune", "--older-than", "1s", "--yes")
    assert again.out.startswith("no run to prune")
    assert "2  pruned earlier" in again.out


def test_a_pruned_run_is_refused_and_buys_nothing(nightly: Cli) -> None:
    assert nightly("prune", "--keep", "1", "--yes", "-q").code == 0
    before = nightly("credits", "--json").envelope["data"]["available"]
    for command in (
        ("run", "nightly.yaml", "--run-id", "a"),
        ("plan", "nightly.yaml", "--run-id", "a"),
    ):
        done = nightly(*command, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, "RUN_PRUNED")
        assert "check outputs/nightly/a --fix" in done.envelope["error"]["hint"]
    assert nightly("credits", "--json").envelope["data"]["available"] == before
    if has_feature("check"):
        assert nightly("check", "outputs/nightly/a", "--outputs").code == 2
        assert nightly("check", "outputs/nightly/a", "--ledger").code == 0


def test_a_pruned_run_is_shown_as_pruned_with_a_command_that_works(nightly: Cli) -> None:
    edit(
        nightly,
        "a",
        """UPDATE runs SET ending = json_set(ending, '$.status', 'partial', '$.exit_code', 1)""",
    )
    assert "next" in nightly("status", "outputs/nightly/a").out
    assert nightly("prune", "--older-than", "1s", "--yes", "-q").code == 0
    day = time.strftime("%Y-%m-%d", time.gmtime())
    listed = {
        Path(run["run_dir"]).name: run
        for run in nightly("status", "--json").envelope["data"]["runs"]
    }
    assert {run_id: (run["pruned"], run["next"]) for run_id, run in listed.items()} == {
        "a": (day, None),
        "b": (day, None),
        "c": (None, None),
    }
    assert nightly("status").out.count(f"pruned {day}") == 2
    status = nightly("status", "outputs/nightly/a").out
    assert f"  pruned   outputs were deleted on {day}" in status
    assert "next" not in status
    assert nightly("status", "outputs/nightly/a", "--json").envelope["data"]["pruned"] == day
    command = status.splitlines()[-1].split()
    assert command == ["crucible-batch", "check", "outputs/nightly/a", "--fix"]
    if has_feature("check"):
        before = nightly("credits", "--json").envelope["data"]["available"]
        assert nightly(*command[1:]).code == 0
        assert "pruned" not in nightly("status", "outputs/nightly/a").out
        assert nightly("run", "nightly.yaml", "--run-id", "a").code == 0
        assert nightly("credits", "--json").envelope["data"]["available"] == before


def test_an_interrupted_pruning_is_refused_by_run_and_completed_by_prune(
    nightly: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = pruning.delete_output, list[str]()

    def stop_at_second(directory: Path, path: str, sha256: str) -> Any:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(directory, path, sha256)

    with monkeypatch.context() as patched:
        patched.setattr(pruning, "delete_output", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            prune(nightly, keep=2)
    assert len(names(nightly.cwd / "outputs/nightly/a") & {"fox-1/0.png", "fox-2/0.png"}) == 1
    done = nightly("run", "nightly.yaml", "--run-id", "a", "--json")
    assert (done.code, done.envelope["error"]["code"]) == (2, "RUN_PRUNED")
    again = prune(nightly, older_than_s=10**6)
    assert [run.decision.prune for run in again.going] == [PruneCause.INTERRUPTED]
    assert names(nightly.cwd / "outputs/nightly/a") == KEPT


def test_files_that_the_run_did_not_save_stay_and_are_named(nightly: Cli, tmp_path: Path) -> None:
    run_dir = nightly.cwd / "outputs/nightly/a"
    (run_dir / "fox-1/notes.txt").write_text("mine")
    size = (run_dir / "fox-2/0.png").stat().st_size
    (run_dir / "fox-2/0.png").write_bytes(b"x" * size)
    done = nightly("prune", "--keep", "2", "--yes")
    assert done.code == 0
    assert (
        "left     1  not as they were saved, so not deleted: outputs/nightly/a/fox-2/0.png"
        in done.out
    )
    left = {"fox-1", "fox-1/notes.txt", "fox-2", "fox-2/0.png", "fox-2/0.png.json"}
    assert names(run_dir) == KEPT | left


def test_a_journal_that_names_another_file_deletes_nothing_of_it(nightly: Cli) -> None:
    run_dir = nightly.cwd / "outputs/nightly/a"
    (run_dir / "fox-1/0.png").rename(run_dir / "family.png")
    edit(
        nightly,
        "a",
        "UPDATE events SET body = replace(body, 'fox-1/0.png', 'family.png') WHERE type = 'Saved'",
    )
    prune(nightly, keep=2)
    assert "family.png" in names(run_dir)
    assert "fox-2" not in names(run_dir)


def test_a_run_without_its_report_or_in_progress_is_kept(nightly: Cli) -> None:
    (nightly.cwd / "outputs/nightly/a/report.json").unlink()
    with lock_run_directory(nightly.cwd / "outputs/nightly/b"):
        found = planned(nightly, older_than_s=1.0)
    assert [run.decision.keep for run in found.runs] == [
        KeepCause.UNREPORTED,
        KeepCause.RUNNING,
        KeepCause.NEWEST,
    ]


def test_a_killed_run_and_one_with_a_held_job_are_kept(nightly: Cli) -> None:
    edit(nightly, "a", "UPDATE runs SET ending = NULL, finished_at = NULL")
    edit(
        nightly,
        "b",
        "DELETE FROM events WHERE type IN ('Accepted', 'Succeeded', 'Listed', 'Saved')",
    )
    found = planned(nightly, older_than_s=0.001)
    kept = {run.facts.run_id: run.decision.keep for run in found.runs}
    assert kept == {"a": KeepCause.UNFINISHED, "b": KeepCause.UNKNOWN, "c": KeepCause.NEWEST}


def test_a_run_that_begins_after_the_decision_is_kept(nightly: Cli) -> None:
    decided = planned(nightly, keep=2)
    with lock_run_directory(nightly.cwd / "outputs/nightly/a"):
        found = prune_runs(decided, now=time.time())
        assert found.going == []
    edit(nightly, "a", "UPDATE runs SET finished_at = finished_at + 1")
    found = prune_runs(decided, now=time.time())
    assert found.going == []
    assert names(nightly.cwd / "outputs/nightly/a") >= OUTPUTS


def test_a_run_directory_that_becomes_a_link_is_not_pruned(nightly: Cli) -> None:
    decided, run_dir = planned(nightly, keep=2), nightly.cwd / "outputs/nightly/a"
    run_dir.rename(nightly.cwd / "moved")
    run_dir.symlink_to(nightly.cwd / "moved")
    (run,) = prune_runs(decided, now=time.time()).going
    assert isinstance(run.error, RunDirectoryError)
    assert names(nightly.cwd / "moved") >= OUTPUTS


def test_an_error_in_one_run_does_not_keep_the_others(
    nightly: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pruning.delete_output

    def fail_in_a(directory: Path, path: str, sha256: str) -> Any:
        if directory.name == "a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(directory, path, sha256)

    monkeypatch.setattr(pruning, "delete_output", fail_in_a)
    found = prune(nightly, keep=1)
    assert [run.error is None for run in found.going] == [False, True]
    assert names(nightly.cwd / "outputs/nightly/b") == KEPT


def test_an_unreadable_journal_is_kept_and_counted(nightly: Cli) -> None:
    (nightly.cwd / "outputs/nightly/a/.crucible/journal.sqlite3").write_bytes(
        b"not a database at all, but long"
    )
    done = nightly("prune", "--keep", "1", "--yes")
    assert done.code == 0
    assert "kept     1  the journal can't be read" in done.out
    assert names(nightly.cwd / "outputs/nightly/a") >= OUTPUTS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "no criterion is given: --older-than, --keep or --max-size"),
        (("nowhere", "--keep", "1"), "there is no directory nowhere"),
        (("--keep", "0"), "Invalid value for '--keep'"),
        (("--older-than", "soon"), "'soon' is not a duration"),
    ],
)
def test_bad_input_is_refused(lonely_cli: Cli, args: tuple[str, ...], message: str) -> None:
    done = lonely_cli("prune", *args)
    assert done.code == 2
    assert message in done.err

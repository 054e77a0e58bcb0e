"""What all runs have spent, from the command line."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, check_stream, journalled, running_sandbox, wait_until

JOBS = "- {name: fox, prompt: a fox, repeat: 3}"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def ran(cli: Cli, name: str, *options: str, jobs: str = JOBS, head: str = "") -> Path:
    done = cli("run", cli.write(name, jobs, head=head), "-q", "--no-html", *options)
    assert done.code == 0, done.err
    return cli.cwd / "outputs" / name / "default"


def spending(cli: Cli, *words: str) -> dict[str, Any]:
    return dict(check_stream(cli("spend", *words, "--json"), "spend")["data"])


def sums(cli: Cli, *words: str) -> dict[str | None, str]:
    (gateway,) = spending(cli, *words)["gateways"]
    return {each["key"]: each["credits"] for each in gateway["sums"]}


def test_the_tags_of_manifests_are_summed_up(cli: Cli) -> None:
    ran(cli, "tag-a", head="tags: [client-a, spring]\n")
    ran(cli, "tag-b", head="tags: [spring]\n")
    ran(cli, "tag-none", jobs="- {name: fox, prompt: a fox}")
    assert sums(cli, "--by", "tag") == {"spring": "12", "client-a": "6", None: "2"}
    assert sums(cli, "--by", "workflow") == {"zimage-base": "14"}
    shown = cli("spend", "--by", "tag")
    lines = [line.split() for line in shown.out.splitlines() if line.strip()]
    assert ["spring", "2", "6", "0", "12"] in lines
    assert ["without", "a", "tag", "1", "1", "0", "2"] in lines
    assert ["total", "3", "7", "0", "14"] in lines


def test_a_tag_that_is_corrected_counts_after_the_next_run(cli: Cli) -> None:
    ran(cli, "corrected", head="tags: [sprng]\n")
    assert sums(cli, "--by", "tag") == {"sprng": "6"}
    ran(cli, "corrected", head="tags: [spring]\n")  # buys nothing
    assert sums(cli, "--by", "tag") == {"spring": "6"}


def test_runs_elsewhere_are_known_without_a_directory(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "here")
    ran(cli, "elsewhere", "--out-dir", str(tmp_path / "far" / "away"))
    data = spending(cli)
    assert data["complete"] is True
    assert data["gateways"][0]["total"]["credits"] == "12"
    assert data["gateways"][0]["total"]["runs"] == 2
    assert spending(cli, "outputs")["gateways"][0]["total"]["credits"] == "6"
    assert spending(cli, str(tmp_path / "far"))["gateways"][0]["total"]["credits"] == "6"


def test_a_run_that_vanished_is_named_and_the_others_count(cli: Cli) -> None:
    ran(cli, "kept")
    shutil.rmtree(ran(cli, "gone"))
    data = spending(cli)
    assert data["gateways"][0]["total"]["credits"] == "6"
    (remark,) = data["remarks"]
    assert remark["run_dir"].endswith("outputs/gone/default")
    assert (remark["missing"], data["complete"]) == (True, False)
    shown = cli("spend")
    assert shown.code == 0
    assert "gone/default: not counted: the directory is gone" in " ".join(shown.err.split())


@pytest.mark.parametrize("damage", ["text", "pages", "truncated", "link"])
def test_a_damaged_journal_is_named_and_not_counted_in_part(cli: Cli, damage: str) -> None:
    ran(cli, f"sound-{damage}")
    journal = ran(cli, f"damaged-{damage}", jobs="- {name: fox, prompt: a fox, repeat: 40}")
    journal = journal / ".crucible" / "journal.sqlite3"
    content = journal.read_bytes()
    match damage:
        case "text":
            journal.write_bytes(b"not a database")
        case "pages":
            sound = len(content) // 8 // 4096 * 4096
            journal.write_bytes(content[:sound] + b"\xff" * (len(content) - sound))
        case "truncated":
            journal.write_bytes(content[: len(content) // 2])
        case _:
            journal.rename(journal.with_name("other"))
            journal.symlink_to("other")
    data = spending(cli)
    assert data["gateways"][0]["total"]["credits"] == "6"
    (remark,) = data["remarks"]
    assert f"damaged-{damage}/default" in remark["run_dir"]
    assert remark["missing"] is True


def test_a_copy_of_a_run_directory_counts_once(cli: Cli) -> None:
    run_dir = ran(cli, "copied")
    shutil.copytree(run_dir, run_dir.parent.with_name("backup") / "default")
    ran(cli, "copied", jobs="- {name: fox, prompt: a fox, repeat: 4}")
    data = spending(cli)
    assert data["gateways"][0]["total"]["credits"] == "8"
    (remark,) = data["remarks"]
    assert "backup" in remark["run_dir"]
    assert "3 charges that another directory of the same run has too" in remark["reason"]
    assert data["complete"] is True


def test_a_run_in_an_object_store_counts_by_its_journal_here(cli: Cli) -> None:
    (cli.cwd / "shared" / "winter").mkdir(parents=True)
    url = f"file://{cli.cwd}/shared/winter"
    done = cli("run", cli.write("stored", JOBS), "-q", "--no-html", "--out-dir", url)
    assert done.code == 0, done.err
    data = spending(cli)
    assert data["gateways"][0]["total"]["credits"] == "6"
    (remark,) = data["remarks"]
    assert (remark["run_dir"], remark["missing"]) == (url, False)
    assert spending(cli, url)["gateways"] == data["gateways"]
    refused = cli("spend", f"file://{cli.cwd}/shared/other", "--json")
    assert refused.code == 2
    assert "has no journal of a run" in refused.envelope["error"]["message"]


def test_a_run_that_is_active_counts_and_is_not_held_up(slow_cli: Cli) -> None:
    name = slow_cli.write("active", "- {name: fox, prompt: a fox}")
    process = slow_cli.start("run", name, "-q")
    try:
        wait_until(lambda: journalled(slow_cli, "active", "Accepted"))
        journal = slow_cli.cwd / "outputs/active/default/.crucible/journal.sqlite3"
        with sqlite3.connect(journal, isolation_level=None) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert sums(slow_cli, "outputs") == {_month(slow_cli): "2"}
            writer.execute("COMMIT")
        writer.close()
    finally:
        process.kill()
        process.communicate()


def _month(cli: Cli) -> str:
    (gateway,) = spending(cli, "outputs")["gateways"]
    (found,) = gateway["sums"]
    return str(found["key"])


@pytest.fixture
def dearer(tmp_path: Path) -> Iterator[Cli]:
    """A command whose gateway raises its price after three jobs."""
    with running_sandbox("--time-scale", "0", "--pricing", "zimage-base.rise-after=3x2") as url:
        yield Cli(tmp_path, url)


def test_a_price_that_has_changed_is_a_line(dearer: Cli) -> None:
    ran(dearer, "cheap")
    assert "price" not in dearer("spend").out
    ran(dearer, "dear")
    assert "zimage-base: 2 → 4 since 20" in dearer("spend").out
    (change,) = spending(dearer)["gateways"][0]["price_changes"]
    assert (change["before"], change["after"], change["changes"]) == ("2", "4", 1)
    assert change["run"] == "dear/default"


def test_each_gateway_has_its_own_sums(cli: Cli, dearer: Cli) -> None:
    ran(cli, "one")
    ran(dearer, "other")
    data = spending(cli)
    assert [each["total"]["credits"] for each in data["gateways"]] == ["6", "6"]
    assert len({each["gateway"] for each in data["gateways"]}) == 2


def test_without_any_run_the_next_step_is_shown(lonely_cli: Cli) -> None:
    done = lonely_cli("spend", "missing")
    assert done.code == 0
    assert "no runs were found" in done.out
    data = spending(lonely_cli)
    assert (data["gateways"], data["remarks"], data["complete"]) == ([], [], True)


def test_an_unknown_time_zone_is_refused(lonely_cli: Cli) -> None:
    refused = lonely_cli("spend", "--timezone", "Mars/Base", "--json")
    assert refused.code == 2
    assert "'Mars/Base' is not a time zone" in refused.envelope["error"]["message"]


def test_jobs_that_were_found_count_where_they_were_bought(cli: Cli, tmp_path: Path) -> None:
    ran(cli, "bought")
    ran(cli, "bought", "--out-dir", str(tmp_path / "again"))
    (gateway,) = spending(cli)["gateways"]
    assert (gateway["total"]["credits"], gateway["found"]) == ("6", "6")
    assert "6 credits for jobs that were found at the gateway" in cli("spend").out


def test_what_is_held_without_an_answer_is_beside_the_sums_and_once_for_copies(cli: Cli) -> None:
    run_dir = ran(cli, "held")
    journal = run_dir / ".crucible" / "journal.sqlite3"
    with sqlite3.connect(journal) as connection:
        query = "SELECT subject, body FROM events WHERE type = 'Held' LIMIT 1"
        subject, body = connection.execute(query).fetchone()
        row = (f"{'0' * 64}", "Held", body)
        connection.execute("INSERT INTO events (subject, type, body) VALUES (?, ?, ?)", row)
    connection.close()
    assert subject != row[0]
    held = spending(cli, "outputs")["gateways"][0]
    assert (held["total"]["credits"], held["unanswered"] != "0") == ("6", True)
    shutil.copytree(run_dir, run_dir.parent.with_name("backup") / "default")
    assert spending(cli, "outputs")["gateways"][0]["unanswered"] == held["unanswered"]
    assert (
        f"held     {held['unanswered']} credits for requests without an answer"
        in cli("spend", "outputs").out
    )

"""``reject`` and ``run --rejects`` on the command line: what is written, shown and refused."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.harness.commands import Cli

JOBS = """\
- {name: hero, prompt: "heron {{ repeat }}", repeat: 3, params: {size.width: 64, size.height: 64}}
"""


def made(cli: Cli, name: str, head: str = "") -> str:
    """A run of three jobs; its directory."""
    manifest = cli.write(name, JOBS)
    if head:
        path = cli.cwd / manifest
        path.write_text(path.read_text().replace("jobs:", f"{head}\njobs:"))
    done = cli("run", manifest)
    assert done.code == 0, done.err
    return f"outputs/{name}/default"


def next_command(out: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.strip().startswith("next "))
    return shlex.split(line.split("next", 1)[1])[1:]


def test_the_printed_commands_lead_from_a_rejection_to_the_new_output(cli: Cli) -> None:
    run_dir = made(cli, "herons", "rejects: bad/herons.txt")
    (cli.cwd / "bad").mkdir()
    rejected = cli("reject", run_dir, "hero-2", "hero-3/0", "--reason", " six\n fingers ")
    assert rejected.code == 0, rejected.err
    lines = (cli.cwd / "bad/herons.txt").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [["hero-2/0", "g0"], ["hero-3/0", "g0"]]
    assert all(line.endswith(" six fingers") for line in lines)
    plan = cli("plan", "herons.yaml")
    words = " ".join(plan.out.split())
    assert "2 changed, 1 already done" in words
    assert "~ hero-2 generation: 0 → 1" in words
    done = cli(*next_command(rejected.out))
    assert done.code == 0, done.err
    report = json.loads((cli.cwd / run_dir / "report.json").read_text())
    assert [row["generation"] for row in report["jobs"]] == [0, 1, 1]
    (take,) = report["jobs"][1]["takes"]
    assert (take["generation"], take["rejected"]) == (0, "six fingers")
    assert "takes    2 outputs of earlier tries kept" in cli("status", run_dir).out
    assert "nothing to run" in cli("plan", "herons.yaml").out


def test_the_printed_budget_is_enough_for_what_is_made_again(cli: Cli) -> None:
    manifest = cli.write("spent", JOBS)
    assert cli("run", manifest, "--budget", "6").code == 0
    rejected = cli("reject", "outputs/spent/default", "hero-2", "hero-3")
    assert next_command(rejected.out) == ["run", "spent.yaml", "--budget", "10"]
    done = cli(*next_command(rejected.out), "--json")
    assert (done.code, done.envelope["data"]["credits"]["spent"]) == (0, "10")


def test_a_budget_with_enough_left_is_printed_as_it_was(cli: Cli) -> None:
    manifest = cli.write("plenty", JOBS)
    assert cli("run", manifest, "--budget", "10").code == 0
    rejected = cli("reject", "outputs/plenty/default", "hero-2", "hero-3")
    assert next_command(rejected.out) == ["run", "plenty.yaml", "--budget", "10"]
    back = cli("reject", "outputs/plenty/default", "hero-2", "--remove")
    assert next_command(back.out) == ["run", "plenty.yaml", "--budget", "10"]


def test_an_output_is_rejected_once_and_each_later_one_by_a_line_of_its_own(cli: Cli) -> None:
    run_dir = made(cli, "twice")
    for _ in range(2):
        done = cli("reject", run_dir, "hero-2", "hero-2/0", "--json")
        assert done.code == 0
    assert done.envelope["data"]["already"] == ["hero-2/0", "hero-2/0"]
    path = cli.cwd / run_dir / "rejects.txt"
    assert done.envelope["data"]["file"] == f"{run_dir}/rejects.txt"
    assert len(path.read_text().splitlines()) == 1
    assert cli("run", "twice.yaml").code == 0
    assert cli("reject", run_dir, "hero-2").code == 0
    assert [line.split()[1] for line in path.read_text().splitlines()] == ["g0", "g1"]


def test_a_reason_of_a_person_is_written_as_such(cli: Cli) -> None:
    run_dir = made(cli, "reasons")
    assert cli("reject", run_dir, "hero-1", "--reason", "check blank: it is").code == 0
    (line,) = (cli.cwd / run_dir / "rejects.txt").read_text().splitlines()
    assert line.endswith(" Check blank: it is")


def test_a_reason_replaces_the_one_before_and_none_keeps_it(cli: Cli) -> None:
    run_dir = made(cli, "again")
    path = cli.cwd / run_dir / "rejects.txt"
    reasons = []
    for option in (["--reason", "two beaks"], ["--reason", "three beaks"], []):
        done = cli("reject", run_dir, "hero-1", "hero-2/0", *option, "--json")
        assert (done.code, done.envelope["data"]["rejections"]) == (0, 2)
        reasons.append([line.split(" ", 3)[3] for line in path.read_text().splitlines()])
    assert reasons == [["two beaks"] * 2, ["three beaks"] * 2, ["three beaks"] * 2]


def test_the_page_has_the_command_with_its_folder_quoted(cli: Cli) -> None:
    folder = "it's; $(touch x)"
    done = cli("run", cli.write("page", JOBS), "--out-dir", folder)
    assert done.code == 0, done.err
    html = (cli.cwd / folder / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.partition('id="report">')[2].partition("</script>")[0])
    assert shlex.split(data["reject"]) == ["crucible-batch", "reject", folder]


def test_removing_keeps_all_other_lines(cli: Cli) -> None:
    run_dir = made(cli, "back")
    path = cli.cwd / run_dir / "rejects.txt"
    path.write_text("# from the page\n")
    assert cli("reject", run_dir, "hero-1", "hero-2").code == 0
    done = cli("reject", run_dir, "hero-1", "--remove")
    assert done.code == 0
    first, second = path.read_text().splitlines()
    assert (first, second.split()[0]) == ("# from the page", "hero-2/0")
    again = cli("reject", run_dir, "hero-1", "--remove")
    assert (again.code, "'hero-1' is not rejected" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["hero-9"], "did you mean 'hero-"),
        (["hero-1/4"], "its outputs: 0"),
        (["hero-1", "zebra"], "no job of this run is named 'zebra'"),
    ],
)
def test_a_name_that_is_not_valid_writes_nothing(cli: Cli, names: list[str], words: str) -> None:
    run_dir = made(cli, "unknown")
    done = cli("reject", run_dir, *names)
    assert (done.code, words in done.err) == (2, True), done.err
    assert not (cli.cwd / run_dir / "rejects.txt").exists()


def test_a_file_that_is_not_one_of_rejections_is_not_written_to(cli: Cli) -> None:
    run_dir = made(cli, "other", "rejects: notes.txt")
    notes = cli.cwd / "notes.txt"
    notes.write_text("call Anna\n")
    done = cli("reject", run_dir, "hero-1")
    assert (done.code, "notes.txt:1 is not a rejection" in done.err) == (2, True)
    assert notes.read_text() == "call Anna\n"
    refused = cli("run", "other.yaml")
    assert (refused.code, "notes.txt:1: this is not a rejection" in refused.err) == (2, True)
    notes.unlink()
    secret = cli.cwd / "secret"
    secret.write_text("")
    notes.symlink_to(secret)
    assert cli("reject", run_dir, "hero-1").code == 2
    assert secret.read_text() == ""


def test_a_file_outside_of_the_folder_of_the_manifest_is_refused(cli: Cli) -> None:
    (cli.cwd / "inside").mkdir()
    manifest = cli.write("outside", JOBS)
    path = cli.cwd / manifest
    path.write_text(path.read_text().replace("jobs:", "rejects: ../rejects.txt\njobs:"))
    path.rename(cli.cwd / "inside" / manifest)
    done = cli("run", f"inside/{manifest}")
    assert (done.code, "is outside the manifest's directory" in done.err) == (2, True)


def test_a_file_of_the_command_replaces_that_of_the_manifest(cli: Cli) -> None:
    run_dir = made(cli, "given", "rejects: mine.txt")
    rejected = cli("reject", run_dir, "hero-1", "--file", "theirs.txt")
    assert (cli.cwd / "theirs.txt").exists()
    assert next_command(rejected.out) == ["run", "given.yaml", "--rejects", "theirs.txt"]
    assert "nothing to run" in cli("plan", "given.yaml").out
    assert "1 changed" in cli("plan", "given.yaml", "--rejects", "theirs.txt").out
    done = cli(*next_command(rejected.out), "--json")
    assert (done.code, done.envelope["data"]["takes"]) == (0, 1)


def test_a_plan_with_rejections_is_neither_saved_nor_run(cli: Cli) -> None:
    manifest = cli.write("saved", JOBS)
    assert cli("plan", manifest, "--budget", "20", "-o", "saved.json").code == 0
    assert cli("run", "saved.json").code == 0
    assert cli("reject", "outputs/saved/default", "hero-1").code == 0
    run = cli("run", "saved.json")
    assert (run.code, "outputs were rejected" in run.err) == (2, True)
    plan = cli("plan", manifest, "-o", "again.json")
    assert (plan.code, "a plan with rejections can't be saved" in plan.err) == (2, True)


def test_a_maximum_is_shown_with_its_code(cli: Cli) -> None:
    run_dir = made(cli, "limit", "redo: {max: 0}")
    assert cli("reject", run_dir, "hero-1").code == 0
    plan = cli("plan", "limit.yaml")
    assert plan.code == 0
    assert "ended with REDO_LIMIT; nothing more is bought for it" in plan.out
    assert "next" not in plan.out
    done = cli("run", "limit.yaml")
    assert done.code == 1
    assert "REDO_LIMIT × 1: hero-1" in done.out
    assert "change the rejected jobs, or raise redo.max" in " ".join(done.out.split())
    assert "--retry-failed" not in plan.out + done.out
    assert cli("explain", "REDO_LIMIT").code == 0


def test_a_line_that_rejects_nothing_is_a_note(cli: Cli) -> None:
    run_dir = made(cli, "stale")
    rejects = cli.cwd / run_dir / "rejects.txt"
    assert cli("reject", run_dir, "hero-1").code == 0
    lines = ["hero-2/0 g0 000000000000", "gone/0 g0 000000000000"]
    rejects.write_text(rejects.read_text() + "\n".join(lines))
    words = "lines 2, 3 reject no output of this run"
    plan = cli("plan", "stale.yaml")
    assert (plan.code, words in " ".join(plan.out.split())) == (0, True), plan.out
    done = cli("run", "stale.yaml")
    assert (done.code, words in " ".join(done.err.split())) == (0, True), done.err
    assert "4 of" not in done.out

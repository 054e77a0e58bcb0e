"""Stages and picks from the command line: what waits, the commands that go on, and what ``pick``
refuses.
"""

from __future__ import annotations

import json
import shlex
import sqlite3

import pytest

from crucible_batch.atomic_files import append_lines
from crucible_batch.edited_files import EditedFile
from crucible_batch.features.stages import picking
from crucible_batch.journal import lock_run_directory
from tests.harness.commands import Cli
from tests.harness.features import has_feature

JOBS = """\
- {name: draft, prompt: "heron {{ repeat }}", repeat: 3, params: {size.width: 64, size.height: 64}}
- {name: "final-{{ source.name }}", from: "draft*", pick: picks-NAME.txt, workflow: upscale-2x}
"""


def write(cli: Cli, name: str) -> str:
    return cli.write(name, JOBS.replace("NAME", name))


def next_command(out: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.strip().startswith("next "))
    return shlex.split(line.split("next", 1)[1])[1:]


def test_the_page_has_the_command_with_its_folder_quoted(cli: Cli) -> None:
    folder = "it's; $(touch x)"
    done = cli("run", write(cli, "page"), "--out-dir", folder)
    assert done.code == 0, done.err
    html = (cli.cwd / folder / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.partition('id="report">')[2].partition("</script>")[0])
    assert shlex.split(data["pick"]) == ["crucible-batch", "pick", folder]


def test_the_printed_commands_lead_from_the_first_stage_to_the_last(cli: Cli) -> None:
    name = write(cli, "herons")
    plan = cli("plan", name)
    assert "up to 3 more jobs from draft*" in " ".join(plan.out.split())
    done = cli("run", name)
    assert done.code == 0, done.err
    assert "3 of 3 jobs succeeded" in done.out
    assert "waits for picks-herons.txt: pick from 3 jobs" in done.out
    status = cli("status", "outputs/herons/default")
    assert (status.code, next_command(status.out)) == (0, next_command(done.out))
    picked = cli(*next_command(done.out))
    assert picked.code == 0, picked.err
    assert (cli.cwd / "picks-herons.txt").read_text() == "draft-1\n"
    again = cli(*next_command(picked.out))
    assert again.code == 0, again.err
    assert "4 of 4 jobs succeeded, 3 of them earlier" in again.out
    assert "waiting" not in again.out
    if has_feature("check"):
        assert cli("check", "outputs/herons/default").code == 0
    report = json.loads((cli.cwd / "outputs/herons/default/report.json").read_text())
    assert [row["source"] and row["source"]["name"] for row in report["jobs"]] == [
        None,
        None,
        None,
        "draft-1",
    ]
    stage = {
        "name": "final-{{ source.name }}",
        "sources": "draft*",
        "pick": "picks-herons.txt",
        "before": 3,
    }
    assert report["picks"] == [stage]
    settled = cli("plan", name)
    assert "nothing to run" in settled.out


def test_after_a_pick_that_names_no_output_the_printed_command_removes_it_and_continues(
    cli: Cli,
) -> None:
    name = write(cli, "wrong")
    (cli.cwd / "picks-wrong.txt").write_text("draft-2/4\ndraft-1\n")
    done = cli("run", name)
    assert done.code == 1
    assert "there is no output 4: draft-2 has 1 output, numbered from 0" in done.out
    unpick, go_on = (
        "crucible-batch pick outputs/wrong/default draft-2/4 --remove",
        "crucible-batch run wrong.yaml",
    )
    assert f"next     {unpick} && {go_on}\n" in done.out
    assert next_command(cli("status", "outputs/wrong/default").out) == next_command(done.out)
    assert cli(*unpick.split()[1:]).code == 0
    assert cli(*go_on.split()[1:]).code == 0


def test_picks_that_change_during_a_run_are_said_to_take_effect_in_the_next_one(cli: Cli) -> None:
    cli("run", write(cli, "late"), "-q")
    directory = "outputs/late/default"
    told = "a run is active and has read its picks; the change takes effect in the next run"
    with lock_run_directory(cli.cwd / directory):
        picked = cli("pick", directory, "draft-1")
        assert (picked.code, told in picked.out) == (0, True)
        assert cli("pick", directory, "draft-2", "--json").envelope["data"]["running"] is True
    assert told not in cli("pick", directory, "draft-3").out


def test_picks_are_added_and_removed(cli: Cli) -> None:
    name = write(cli, "picked")
    cli("run", name, "-q")
    directory, picks = "outputs/picked/default", cli.cwd / "picks-picked.txt"
    picks.write_text("# mine\ndraft-3")
    assert cli("pick", directory, "draft-1/0", "draft-3", "draft-1/0").code == 0
    assert picks.read_text() == "# mine\ndraft-3\ndraft-1/0\n"
    again = cli("pick", directory, "draft-3", "--json").envelope["data"]
    assert again["picks"][0]["picks"] == ["draft-3", "draft-1/0"]
    assert cli("pick", directory, "draft-3", "--remove").code == 0
    assert picks.read_text() == "# mine\ndraft-1/0\n"
    refused = cli("pick", directory, "draft-3", "--remove")
    assert (refused.code, "'draft-3' is not picked" in refused.err) == (2, True)


def test_one_output_of_a_job_that_is_picked_as_a_whole_is_removed_alone(cli: Cli) -> None:
    jobs = JOBS.replace("repeat: 3", "workflow: zimage-sheet").replace("NAME", "whole")
    cli("run", cli.write("whole", jobs), "-q")
    directory, picks = "outputs/whole/default", cli.cwd / "picks-whole.txt"
    picks.write_text("# mine\ndraft\n")
    removed = cli("pick", directory, "draft/1", "--remove", "--json").envelope["data"]["picks"][0]
    assert (removed["removed"], removed["picks"]) == (["draft"], ["draft/0"])
    assert picks.read_text() == "# mine\ndraft/0\n"
    refused = cli("pick", directory, "draft/1", "--remove")
    assert (refused.code, "'draft/1' is not picked" in refused.err) == (2, True)


def test_a_picks_file_without_entries_waits_as_a_missing_one_does(cli: Cli) -> None:
    name = write(cli, "emptied")
    cli("run", name, "-q")
    directory = "outputs/emptied/default"
    cli("pick", directory, "draft-1")
    assert cli("run", name, "-q").code == 0
    cli("pick", directory, "draft-1", "--remove")
    done = cli("run", name)
    assert done.code == 0
    assert "waits for picks-emptied.txt: pick from 3 jobs" in done.out
    assert next_command(done.out) == ["pick", directory, "draft-1"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["draft-9"], "no job that may be picked is named 'draft-9'"),
        (["draft-1", "draft-2/7"], "draft-2 has no output 7"),
        (["final-draft-1"], "no job that may be picked is named"),
        (["../../etc/passwd"], "no job that may be picked is named"),
        (["draft-1\nrm"], "no job that may be picked is named"),
        (["draft-1", "--file", "other.txt"], "is not a picks file of this run"),
    ],
)
def test_what_can_not_be_picked_changes_nothing(cli: Cli, names: list[str], message: str) -> None:
    name = write(cli, "refusing")
    cli("run", name, "-q")
    done = cli("pick", "outputs/refusing/default", *names)
    assert done.code == 2
    assert message in done.err
    assert not (cli.cwd / "picks-refusing.txt").exists()


def test_a_link_in_place_of_the_picks_file_is_not_written_through(cli: Cli) -> None:
    name = write(cli, "linked")
    cli("run", name, "-q")
    (cli.cwd / "mine.txt").write_text("keep\n")
    (cli.cwd / "picks-linked.txt").symlink_to(cli.cwd / "mine.txt")
    done = cli("pick", "outputs/linked/default", "draft-1")
    assert (done.code, "is not a regular file" in done.err) == (2, True)
    assert (cli.cwd / "mine.txt").read_text() == "keep\n"


def test_a_command_keeps_what_another_has_picked_meanwhile(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", write(cli, "both"), "-q")
    monkeypatch.chdir(cli.cwd)
    picks = cli.cwd / "picks-both.txt"
    picks.write_text("# mine\ndraft-1")
    read = EditedFile.text

    def interrupted(file: EditedFile) -> str:
        found = read(file)
        append_lines(picks, ["draft-2"])
        return found

    monkeypatch.setattr(EditedFile, "text", interrupted)
    picking.pick("outputs/both/default", ["draft-3"])
    assert picks.read_text() == "# mine\ndraft-1\ndraft-2\ndraft-3\n"


@pytest.mark.parametrize("target", ["../elsewhere.txt", "prompts.txt"])
def test_a_run_directory_of_another_person_can_not_choose_the_file(cli: Cli, target: str) -> None:
    name = write(cli, "foreign")
    cli("run", name, "-q")
    (cli.cwd / "prompts.txt").write_text("a heron\n")
    with sqlite3.connect(cli.cwd / "outputs/foreign/default/.crucible/journal.sqlite3") as journal:
        (noted,) = journal.execute("SELECT value FROM meta WHERE key = 'stages'").fetchone()
        stages = [{**stage, "file": f"{cli.cwd}/{target}"} for stage in json.loads(noted)]
        journal.execute("UPDATE meta SET value = ? WHERE key = 'stages'", (json.dumps(stages),))
    journal.close()
    done = cli("pick", "outputs/foreign/default", "draft-1")
    assert (done.code, "is not the picks file of the manifest" in done.err) == (2, True)
    assert not (cli.cwd.parent / "elsewhere.txt").exists()
    assert (cli.cwd / "prompts.txt").read_text() == "a heron\n"


def test_picks_outside_of_the_folder_of_the_manifest_are_not_written(cli: Cli) -> None:
    jobs = JOBS.replace("picks-NAME.txt", "../picks.txt")
    cli("run", cli.write("outer", jobs), "-q", "--allow-outside")
    done = cli("pick", "outputs/outer/default", "draft-1")
    assert (done.code, "not in its folder" in done.err) == (2, True)
    assert not (cli.cwd.parent / "picks.txt").exists()


def test_what_stages_do_not_support_is_refused(cli: Cli) -> None:
    name = write(cli, "limits")
    saving = [("-o", "plan.json")]
    if has_feature("shards"):
        saving.append(("--shards", "2", "-o", "plan.json"))
    for options in saving:
        done = cli("plan", name, *options)
        assert (done.code, "`from`" in done.err) == (2, True), done.err
    assert "hint  plan without -o, and run the manifest" in cli("plan", name, "-o", "plan.json").err
    assert not (cli.cwd / "plan.json").exists()

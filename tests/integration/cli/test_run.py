"""A run from the command line: to its end, again, and through each of its exit codes."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.harness.commands import Cli, Done
from tests.harness.features import has_feature
from tests.harness.forked_commands import COMMAND
from tests.harness.slow_cases import quick_every

Report = Callable[[Path], dict[str, Any]]
SIX = "- {name: fox, prompt: a fox, repeat: 6}"


def test_a_run_makes_every_image_and_says_where(cli: Cli, report_of: Report) -> None:
    cli.write("whole", SIX)
    done = cli("run", "whole.yaml")
    assert done.code == 0, done.err
    assert "6 of 6 jobs succeeded" in done.out
    assert "outputs/whole/default" in done.out
    assert len(done.out.splitlines()) <= 10
    report = report_of(cli.cwd / "outputs/whole/default")
    assert report["status"] == "succeeded"
    assert all(
        (cli.cwd / "outputs/whole/default" / job["outputs"][0]["path"]).is_file()
        for job in report["jobs"]
    )


def test_the_same_command_again_costs_nothing(cli: Cli, report_of: Report) -> None:
    cli.write("twice", SIX)
    assert cli("run", "twice.yaml", "-q").code == 0
    before = cli("credits", "--json").envelope["data"]["available"]
    done = cli("run", "twice.yaml")
    assert done.code == 0
    assert "all of them earlier" in done.out
    assert "0 spent by this run" in done.out
    assert cli("credits", "--json").envelope["data"]["available"] == before
    assert report_of(cli.cwd / "outputs/twice/default")["credits"]["spent"] == "12"


def test_a_run_says_first_what_may_be_meant_otherwise(cli: Cli) -> None:
    seeds = "".join(
        f"- {{name: fox{n}, prompt: a fox, params: {{sampler.seed: 0{n}}}}}\n" for n in range(1, 12)
    )
    cli.write("doubts", seeds, head="workflows: {qwen-edti: {}}\n")
    done = cli("run", "doubts.yaml", "--display", "plain")
    assert done.code == 0
    notes = [line for line in done.err.splitlines() if line.startswith("note  ")]
    assert done.err.splitlines()[: len(notes)] == notes
    assert (
        notes[0]
        == "note  doubts.yaml:5:13: workflows.qwen-edti: no job uses the workflow 'qwen-edti'"
    )
    assert "01 is read as the number 1;" in notes[1]
    assert notes[10:] == ["note  2 more like these: crucible-batch validate doubts.yaml"]


def test_a_failed_job_is_exit_1_and_what_to_do_about_it_is_shown(cli: Cli) -> None:
    cli.write("some", "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}")
    done = cli("run", "some.yaml", "--display", "plain")
    assert done.code == 1
    assert "MODERATION_REFUSED × 1: bad" in done.out
    assert (
        "next     change the failed jobs, then: crucible-batch run some.yaml --display plain"
        in done.out
    )
    assert "FAILED  bad  MODERATION_REFUSED" in done.err


def test_no_budget_and_nobody_to_ask_is_exit_2_and_spends_nothing(cli: Cli) -> None:
    cli.write("unasked", budget="")
    done = cli("run", "unasked.yaml")
    assert done.code == 2
    assert "--budget" in done.err
    assert not (cli.cwd / "outputs").exists()


def test_yes_takes_the_place_of_a_budget(cli: Cli) -> None:
    cli.write("agreed", budget="")
    assert cli("run", "agreed.yaml", "--yes", "-q").code == 0


def test_a_dry_run_is_a_plan_and_leaves_nothing_behind(cli: Cli) -> None:
    cli.write("dry")
    done = cli("run", "dry.yaml", "-n", "--budget", "7")
    assert done.code == 0
    assert "budget    7 credits" in done.out
    assert "crucible-batch run dry.yaml --budget 7" in done.out
    assert not (cli.cwd / "outputs").exists()


def test_only_takes_patterns_and_refuses_a_slip(cli: Cli, report_of: Report) -> None:
    cli.write("chosen", SIX)
    assert cli("run", "chosen.yaml", "-q", "--only", "fox-[12]").code == 0
    assert report_of(cli.cwd / "outputs/chosen/default")["counts"]["succeeded"] == 2
    slip = cli("run", "chosen.yaml", "--only", "fix-1")
    assert slip.code == 2
    assert "fox-1" in slip.err


def test_a_run_for_some_jobs_is_told_by_those_and_how_many_there_are_in_all(cli: Cli) -> None:
    cli.write("few", f"{SIX}\n- {{name: bad, prompt: nsfw}}")
    assert cli("run", "few.yaml", "-q", "--only", "bad").code == 1
    done = cli("run", "few.yaml", "--only", "fox-[123]", "--display", "plain")
    assert done.out.startswith("✓ 3 of 3 selected jobs succeeded   few · default · 7 jobs in total")
    assert "failed" not in done.out
    assert "  0/3  " in done.err
    assert "  3/3  " in done.err
    assert (
        "✓ 4 of 4 selected jobs succeeded, 3 of them earlier"
        in cli("run", "few.yaml", "--only", "fox-[1-4]").out
    )


def test_a_directory_of_another_manifest_is_exit_2(cli: Cli) -> None:
    cli.write("mine")
    cli.write("yours")
    assert cli("run", "mine.yaml", "-q", "--out-dir", "here").code == 0
    assert cli("run", "yours.yaml", "-q", "--out-dir", "here").code == 2


def test_no_key_and_a_wrong_key_are_exit_3(cli: Cli) -> None:
    cli.write("keyless")
    nothing = cli("run", "keyless.yaml", MOLTAZINE_API_KEY="")
    wrong = cli("run", "keyless.yaml", MOLTAZINE_API_KEY="moltazine_wrong")
    assert (nothing.code, wrong.code) == (3, 3)
    assert "MOLTAZINE_API_KEY" in nothing.err
    assert "UNAUTHORIZED" in wrong.err
    assert "request id" in wrong.err
    assert (
        "to do  check MOLTAZINE_API_KEY; crucible-batch doctor shows where it was found\n"
        in wrong.err
    )
    assert "moltazine_wrong" not in wrong.err


def test_the_deadline_is_exit_5(slow_cli: Cli) -> None:
    slow_cli.write("late")
    done, deadline = _ended_by_deadline(slow_cli, "late.yaml", begun="DEADLINE")
    assert done.code == 5
    assert "DEADLINE" in done.out
    assert f"crucible-batch run late.yaml --deadline {deadline}" in done.out


def test_what_stopped_the_whole_run_is_its_error_and_not_what_stopped_some_jobs(
    slow_cli: Cli,
) -> None:
    Image.new("RGB", (64, 64), "teal").save(slow_cli.cwd / "a.png")
    edits = "- {name: edit, prompt: an edit, workflow: qwen-edit, image: a.png, repeat: 2}"
    slow_cli.write("both", edits, budget="{credits: 100, max_credits_per_job: 1}")
    done, _ = _ended_by_deadline(slow_cli, "both.yaml", "--json", begun="PRICE_ABOVE_CEILING")
    assert (done.code, done.envelope["error"]["code"]) == (5, "DEADLINE")
    assert {stop["code"] for stop in done.envelope["data"]["stops"].values()} == {
        "DEADLINE",
        "PRICE_ABOVE_CEILING",
    }


def test_a_held_directory_is_exit_6_and_a_second_ctrl_c_ends_the_holder_with_130(
    slow_cli: Cli,
) -> None:
    slow_cli.write("busy")
    run_dir = "outputs/busy/default"
    shown = slow_cli.cwd / "shown"
    with shown.open("w") as stream:
        holder = slow_cli.start_installed(
            "run", "busy.yaml", "--display", "plain", stdout=stream, stderr=stream
        )
    try:
        _wait_until_bought(slow_cli.cwd / run_dir)
        # Known before anything is planned or asked: this gateway doesn't exist.
        second = slow_cli("run", "busy.yaml", CRUCIBLE_API_BASE="http://127.0.0.1:1")
        assert second.code == 6
        assert f"process {holder.pid} on " in second.err
        status = slow_cli("status", run_dir, "--json")
        assert status.code == 0
        assert status.envelope["data"]["running"] is True
        _interrupt_twice(holder, signal.SIGINT, shown)
        holder.wait(timeout=20)
    finally:
        holder.kill()
        holder.wait()
    assert holder.returncode == 130, shown.read_text()
    assert "crucible-batch run busy.yaml" in shown.read_text()
    assert slow_cli("status", run_dir, "--json").envelope["data"]["status"] == "interrupted"


def test_under_nohup_a_hangup_ends_nothing(cli: Cli, report_of: Report) -> None:
    cli.write("nohup", SIX)
    run = cli.start_installed(
        "run", "nohup.yaml", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    try:
        _wait_until_bought(cli.cwd / "outputs/nohup/default")
        run.send_signal(signal.SIGHUP)
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert report_of(cli.cwd / "outputs/nohup/default")["counts"]["succeeded"] == 6


@pytest.mark.parametrize("kilobytes", quick_every(2, [30, 60, 120]))
def test_a_file_system_that_takes_no_more_is_exit_5_and_the_same_command_continues(
    cli: Cli, report_of: Report, kilobytes: int
) -> None:
    """The kernel's own limit on a file's size: it meets the journal's log first, or an output."""
    name = f"full{kilobytes}"
    cli.write(name, SIX)
    limited = f"ulimit -f {kilobytes}; exec {COMMAND} run {name}.yaml --display none"
    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=cli.cwd,
        env=cli.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert "check the disk" in done.stderr or "RESULTS" in done.stdout or "JOURNAL" in done.stdout
    assert "Traceback" not in done.stderr
    assert cli("run", f"{name}.yaml", "-q").code == 0
    assert report_of(cli.cwd / f"outputs/{name}/default")["credits"]["spent"] == "12"
    if has_feature("check"):
        assert cli("check", f"outputs/{name}/default", "-q").code == 0


def _ended_by_deadline(cli: Cli, manifest: str, *options: str, begun: str) -> tuple[Done, str]:
    """Run with the shortest deadline within which this machine, however busy, comes to show
    ``begun``."""
    for deadline in ("1s", "3s", "10s", "30s", "90s"):
        done = cli("run", manifest, "--deadline", deadline, *options)
        if begun in done.out:
            break
    return done, deadline


def _wait_until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def _wait_until_bought(run_dir: Path) -> None:
    """Wait until a job of a run was accepted."""

    def is_bought() -> bool:
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db,
        ):
            return bool(
                db.execute("SELECT count(*) FROM events WHERE type = 'Accepted'").fetchone()[0]
            )
        return False

    journal = run_dir / ".crucible/journal.sqlite3"
    _wait_until(is_bought, f"{run_dir} buys nothing")


def _interrupt_twice(process: Any, number: signal.Signals, shown: Path) -> None:
    """Send a signal, and once more when the run has said that it is stopping."""
    process.send_signal(number)
    _wait_until(lambda: "stop" in shown.read_text(), "the run does not stop")
    process.send_signal(number)


def test_the_command_after_a_budget_that_was_too_small_works_and_status_prints_it_too(
    cli: Cli,
) -> None:
    cli.write("tight", "- {name: fox, prompt: a fox, repeat: 3}", budget="{credits: 4}")
    done = cli("run", "tight.yaml")
    assert done.code == 4
    assert "hint     raise the budget and run the same command again" in done.out
    command = "crucible-batch run tight.yaml --budget 6"
    assert done.out.splitlines()[-1].partition("next")[2].strip() == command
    assert (
        cli("status", "outputs/tight/default").out.splitlines()[-1].partition("next")[2].strip()
        == command
    )
    assert cli(*command.split()[1:]).code == 0

"""A run from the command line: to its end, again, and through each of its exit codes."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import COMMAND, Cli

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
    assert all((cli.cwd / "outputs/whole/default" / job["outputs"][0]["path"]).is_file() for job in report["jobs"])


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
    seeds = "".join(f"- {{name: fox{n}, prompt: a fox, params: {{sampler.seed: 0{n}}}}}\n" for n in range(1, 12))
    cli.write("doubts", seeds, head="workflows: {qwen-edti: {}}\n")
    done = cli("run", "doubts.yaml", "--display", "plain")
    assert done.code == 0
    notes = [line for line in done.err.splitlines() if line.startswith("note  ")]
    assert done.err.splitlines()[: len(notes)] == notes
    assert notes[0] == "note  doubts.yaml:5:13: workflows.qwen-edti: no job is on the workflow 'qwen-edti'"
    assert "01 is read as the number 1;" in notes[1]
    assert notes[10:] == ["note  2 more like these: crucible-batch validate doubts.yaml"]


def test_quiet_says_nothing(cli: Cli) -> None:
    cli.write("hush", head="workflows: {qwen-edti: {}}\n")
    done = cli("run", "hush.yaml", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_failed_job_is_exit_1_and_the_way_to_retry_is_shown(cli: Cli) -> None:
    cli.write("some", "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}")
    done = cli("run", "some.yaml", "--display", "plain")
    assert done.code == 1
    assert "MODERATION_REFUSED × 1: bad" in done.out
    assert "crucible-batch run some.yaml --display plain --retry-failed" in done.out
    assert "FAILED  bad  MODERATION_REFUSED" in done.err


def test_an_edited_prompt_is_a_success_and_the_older_picture_is_still_there(cli: Cli, report_of: Report) -> None:
    out = cli.cwd / "outputs/edited/default"
    cli.write("edited", "- {name: hero, prompt: a fox}")
    assert cli("run", "edited.yaml", "-q").code == 0
    old = (out / "hero/0.png").read_bytes()
    cli.write("edited", "- {name: hero, prompt: an owl}")
    done = cli("run", "edited.yaml", "--json")
    assert done.code == 0
    (job,) = report_of(out)["jobs"]
    assert job["outputs"][0]["path"] == "hero/0.png"
    (aside,) = [path for path in out.glob("hero/*.png") if path.name != "0.png"]
    assert aside.read_bytes() == old
    assert [line["path"] for line in done.lines if line.get("event") == "relocated"] == [f"hero/{aside.name}"]
    assert "2 of 2 outputs are as they were saved" in cli("verify", str(out)).out


def test_a_file_in_the_way_is_named_and_the_same_command_fetches_what_is_paid_for(cli: Cli) -> None:
    theirs = cli.cwd / "outputs/taken/default/hero/0.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"my own")
    cli.write("taken", "- {name: hero, prompt: a fox}")
    done = cli("run", "taken.yaml")
    assert done.code == 1
    assert "another file stands at hero/0.png; move it away" in " ".join(done.out.split())
    assert "next     crucible-batch run taken.yaml\n" in done.out
    assert theirs.read_bytes() == b"my own"
    theirs.rename(theirs.with_name("mine.png"))
    done = cli("run", "taken.yaml")
    assert (done.code, "0 spent by this run" in done.out) == (0, True)


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
    assert done.out.startswith("✓ 3 of 3 chosen jobs succeeded   few · default · 7 jobs in all")
    assert "failed" not in done.out
    assert "  0/3  " in done.err
    assert "  3/3  " in done.err
    assert "✓ 4 of 4 chosen jobs succeeded, 3 of them earlier" in cli("run", "few.yaml", "--only", "fox-[1-4]").out


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
    assert "moltazine_wrong" not in wrong.err


def test_the_end_of_the_budget_is_exit_4_and_a_higher_one_goes_on(cli: Cli) -> None:
    cli.write("poor", SIX)
    done = cli("run", "poor.yaml", "--budget", "4")
    assert done.code == 4
    assert "2 of 6 jobs succeeded, 4 blocked" in done.out
    assert "BUDGET_EXHAUSTED" in done.out
    assert cli("run", "poor.yaml", "--budget", "12", "-q").code == 0


def test_the_deadline_is_exit_5(slow_cli: Cli) -> None:
    slow_cli.write("late")
    done = slow_cli("run", "late.yaml", "--deadline", "1s")
    assert done.code == 5
    assert "DEADLINE" in done.out
    assert "crucible-batch run late.yaml --deadline 1s" in done.out


def test_the_deadline_ends_a_dry_run_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        cli = Cli(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        cli.write("waits")
        done = cli("run", "waits.yaml", "--dry-run", "--deadline", "1s", "--json", timeout_s=30)
    assert (done.code, done.envelope["error"]["code"]) == (5, "DEADLINE")


def test_what_stopped_the_whole_run_is_its_error_and_not_what_stopped_some_jobs(slow_cli: Cli) -> None:
    Image.new("RGB", (64, 64), "teal").save(slow_cli.cwd / "a.png")
    edits = "- {name: edit, prompt: an edit, workflow: qwen-edit, image: a.png, repeat: 2}"
    slow_cli.write("both", edits, budget="{credits: 100, max_credits_per_job: 1}")
    done = slow_cli("run", "both.yaml", "--deadline", "3s", "--json")
    assert (done.code, done.envelope["error"]["code"]) == (5, "DEADLINE")
    assert {stop["code"] for stop in done.envelope["data"]["stops"].values()} == {"DEADLINE", "PRICE_ABOVE_CEILING"}


def test_a_held_directory_is_exit_6_and_a_second_ctrl_c_ends_the_holder_with_130(slow_cli: Cli) -> None:
    slow_cli.write("busy")
    run_dir = "outputs/busy/default"
    holder = slow_cli.start("run", "busy.yaml", "--display", "plain")
    try:
        _wait_for(slow_cli.cwd / run_dir / ".crucible/journal.sqlite3")
        # Known before anything is planned or asked: this gateway doesn't exist.
        second = slow_cli("run", "busy.yaml", CRUCIBLE_API_BASE="http://127.0.0.1:1")
        assert second.code == 6
        assert f"process {holder.pid} on " in second.err
        status = slow_cli("status", run_dir, "--json")
        assert status.code == 0
        assert status.envelope["data"]["running"] is True
        _interrupt_twice(holder, signal.SIGINT)
        out, err = holder.communicate(timeout=20)
    finally:
        holder.kill()
    assert holder.returncode == 130, err
    assert "crucible-batch run busy.yaml" in out
    assert slow_cli("status", run_dir, "--json").envelope["data"]["status"] == "interrupted"


def test_sigterm_ends_a_run_with_143(slow_cli: Cli) -> None:
    slow_cli.write("term")
    run = slow_cli.start("run", "term.yaml", "--json")
    try:
        _wait_for(slow_cli.cwd / "outputs/term/default/.crucible/journal.sqlite3")
        _interrupt_twice(run, signal.SIGTERM)
        out, err = run.communicate(timeout=20)
    finally:
        run.kill()
    assert run.returncode == 143, err
    assert '"exit_code": 143' in out.splitlines()[-1]


def test_under_nohup_a_hangup_ends_nothing(cli: Cli, report_of: Report) -> None:
    cli.write("nohup", SIX)
    run = cli.start("run", "nohup.yaml", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    try:
        _wait_for(cli.cwd / "outputs/nohup/default/.crucible/journal.sqlite3")
        run.send_signal(signal.SIGHUP)
        _, err = run.communicate(timeout=20)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert report_of(cli.cwd / "outputs/nohup/default")["counts"]["succeeded"] == 6


def test_a_reader_that_goes_away_does_not_end_a_run(cli: Cli, report_of: Report) -> None:
    cli.write("piped", SIX)
    run = cli.start("run", "piped.yaml", "--json")
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.readline()
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=20) == 0, err
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert report_of(cli.cwd / "outputs/piped/default")["counts"]["succeeded"] == 6


@pytest.mark.parametrize("kilobytes", [30, 60, 120])
def test_a_file_system_that_takes_no_more_is_exit_5_and_the_same_command_goes_on(
    cli: Cli, report_of: Report, kilobytes: int
) -> None:
    """The kernel's own limit on a file's size: it meets the journal's log first, or an output."""
    name = f"full{kilobytes}"
    cli.write(name, SIX)
    limited = f"ulimit -f {kilobytes}; exec {COMMAND} run {name}.yaml --display none"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=cli.cwd, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert "see to the disk" in done.stderr or "RESULTS" in done.stdout or "JOURNAL" in done.stdout
    assert "Traceback" not in done.stderr
    assert cli("run", f"{name}.yaml", "-q").code == 0
    assert report_of(cli.cwd / f"outputs/{name}/default")["credits"]["spent"] == "12"
    assert cli("verify", f"outputs/{name}/default", "-q").code == 0


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 15
    while not path.exists():
        assert time.monotonic() < until, f"{path} doesn't appear"
        time.sleep(0.05)
    time.sleep(0.7)  # the run begins a moment after its journal does


def _interrupt_twice(process: Any, number: signal.Signals) -> None:
    process.send_signal(number)
    time.sleep(0.3)
    process.send_signal(number)


def test_the_command_after_a_budget_that_was_too_small_works_and_status_prints_it_too(cli: Cli) -> None:
    cli.write("tight", "- {name: fox, prompt: a fox, repeat: 3}", budget="{credits: 4}")
    done = cli("run", "tight.yaml")
    assert done.code == 4
    assert "hint     raise the budget and run the same command again" in done.out
    command = "crucible-batch run tight.yaml --budget 6"
    assert done.out.splitlines()[-1].partition("next")[2].strip() == command
    assert cli("status", "outputs/tight/default").out.splitlines()[-1].partition("next")[2].strip() == command
    assert cli(*command.split()[1:]).code == 0

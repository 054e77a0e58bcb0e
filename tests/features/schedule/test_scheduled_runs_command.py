"""Runs of a schedule: which night they belong to, and their ids."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness.commands import Cli, Done, answering, check_stream

BERLIN = "timezone: Europe/Berlin\n"
DATED = 'run_id: "{{ date }}"\n' + BERLIN
INTERNAL = b'{"success": false, "code": "INTERNAL_ERROR", "error": "Something went wrong."}'
DATED_JOB = '- {name: "fox-{{ date }}", prompt: "a fox on {{ date }}"}'


def _jobs_of(cli: Cli, run_dir: str) -> dict[str, object]:
    report = json.loads((cli.cwd / run_dir / "report.json").read_text(encoding="utf-8"))
    return {job["name"]: job["params"]["prompt.text"] for job in report["jobs"]}


def test_a_run_belongs_to_its_scheduled_time_and_the_same_time_resumes(cli: Cli) -> None:
    cli.write("dated", DATED_JOB, head=DATED)
    first = cli("run", "dated.yaml", "--scheduled-at", "2026-11-26T02:15:00Z")
    assert first.code == 0, first.err
    again = cli("run", "dated.yaml", CRUCIBLE_BATCH_SCHEDULED_AT="2026-11-26T23:59:00+01:00")
    assert "0 spent by this run" in again.out
    next_night = cli("run", "dated.yaml", CRUCIBLE_BATCH_KUBERNETES_JOB="dated-29914215")
    assert next_night.code == 0, next_night.err
    assert _jobs_of(cli, "outputs/dated/2026-11-26") == {"fox-2026-11-26": "a fox on 2026-11-26"}
    assert _jobs_of(cli, "outputs/dated/2026-11-16") == {"fox-2026-11-16": "a fox on 2026-11-16"}
    assert sorted(path.name for path in (cli.cwd / "outputs/dated").iterdir()) == [
        "2026-11-16",
        "2026-11-26",
    ]


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_faulty_time_or_run_id_is_exit_2(cli: Cli, command: str) -> None:
    done = cli(command, cli.write("faulty", head='run_id: "{{ dat }}"\n'))
    assert (done.code, "faulty.yaml:5:9: run_id: the variable 'dat' is unknown" in done.err) == (
        2,
        True,
    )
    done = cli(command, cli.write("sound"), CRUCIBLE_BATCH_SCHEDULED_AT="yesterday")
    assert (done.code, "CRUCIBLE_BATCH_SCHEDULED_AT: 'yesterday' is not a time" in done.err) == (
        2,
        True,
    )
    assert not (cli.cwd / "outputs").exists()


def test_templates_with_dates_are_validated(lonely_cli: Cli) -> None:
    lonely_cli.write(
        "dated",
        '- {name: a, foreach: "orders-{{ date }}.csv", prompt: "{{ row.title }}"}',
        head=DATED,
    )
    (lonely_cli.cwd / "orders-2026-10-25.csv").write_text("title\na fox\n")
    done = lonely_cli("validate", "dated.yaml", "--scheduled-at", "2026-10-24T23:30:00Z")
    assert (done.code, "✓ dated.yaml  1 job" in done.out) == (0, True)
    done = lonely_cli("validate", "dated.yaml", "--scheduled-at", "2026-10-24T21:30:00Z")
    assert (done.code, "orders-2026-10-24.csv" in done.err) == (2, True)


def test_a_saved_plan_keeps_its_scheduled_time(cli: Cli) -> None:
    cli.write("kept", DATED_JOB, head=DATED)
    at = "2026-11-26T02:15:00Z"
    assert (
        cli("plan", "kept.yaml", "-q", "-o", "plan.json", CRUCIBLE_BATCH_SCHEDULED_AT=at).code == 0
    )
    options = json.loads((cli.cwd / "plan.json").read_text(encoding="utf-8"))["options"]
    assert (options["run_id"], options["scheduled_at"]) == ("2026-11-26", at)
    refused = cli("run", "plan.json", "--scheduled-at", "2026-11-27T02:15:00Z")
    assert (refused.code, f"plan.json was made with: --scheduled-at {at}" in refused.err) == (
        2,
        True,
    )
    assert (
        f"crucible-batch plan kept.yaml --run-id 2026-11-26 --scheduled-at {at} -o plan.json"
        in refused.err
    )
    done = cli("run", "plan.json", CRUCIBLE_BATCH_SCHEDULED_AT="2026-12-24T02:15:00Z")
    assert done.code == 0, done.err
    assert _jobs_of(cli, "outputs/kept/2026-11-26") == {"fox-2026-11-26": "a fox on 2026-11-26"}
    done = cli("run", "plan.json", "--catch-up", "1")
    assert (done.code, "plan.json is a plan for one scheduled time" in done.err) == (2, True)


SCHEDULED = BERLIN + 'run_id: "{{ date }}"\nschedule: {cron: "15 3 * * *", catch_up: 3}\n'


def _night(cli: Cli, name: str, day: int, *options: str, **environment: str) -> Done:
    """Run the manifest on a night in January 2040: each begins before its scheduled time, so none
    is too old.
    """
    at = f"2040-01-{day:02}T03:15:00+01:00"
    return cli("run", f"{name}.yaml", *options, CRUCIBLE_BATCH_SCHEDULED_AT=at, **environment)


def test_missed_nights_are_run_before_the_current_one(cli: Cli) -> None:
    cli.write("nightly", DATED_JOB, head=SCHEDULED)
    assert "1 of 1 jobs succeeded" in _night(cli, "nightly", 1).out
    done = _night(cli, "nightly", 4, "--json")
    assert done.code == 0, done.err
    data = check_stream(done, "run")["data"]
    assert data["run_id"] == "2040-01-04"
    assert [(run["run_id"], run["exit_code"], run["error"]) for run in data["caught_up"]] == [
        ("2040-01-02", 0, None),
        ("2040-01-03", 0, None),
    ]
    assert data["caught_up"][0]["run_dir"] == "outputs/nightly/2040-01-02"
    assert data["caught_up"][0]["scheduled_at"] == "2040-01-02T02:15:00Z"
    began = [
        line for line in done.lines if line["type"] in {"scheduled_run", "run_began", "run_ended"}
    ]
    assert [line["type"] for line in began] == ["scheduled_run", "run_began", "run_ended"] * 3
    assert [(line["run_id"], line["missed"]) for line in began[::3]] == [
        ("2040-01-02", True),
        ("2040-01-03", True),
        ("2040-01-04", False),
    ]
    for day in ("02", "03", "04"):
        assert _jobs_of(cli, f"outputs/nightly/2040-01-{day}") == {
            f"fox-2040-01-{day}": f"a fox on 2040-01-{day}"
        }
    again = _night(cli, "nightly", 4, "--json")
    assert "caught_up" not in check_stream(again, "run")["data"]


def test_a_signal_prevents_the_next_run_and_the_lock_is_held_for_all_of_them(slow_cli: Cli) -> None:
    slow_cli.write("halted", DATED_JOB, head=SCHEDULED)
    options = ("halted.yaml", "--json", "--if-running", "fail", "--catch-up", "1", "--scheduled-at")
    killed = slow_cli.start("run", *options, "2040-01-01T02:15:00Z")
    run = None
    try:
        assert '"run_began"' in _lines_until(killed, "run_began")
        killed.kill()
        killed.communicate()
        run = slow_cli.start("run", *options, "2040-01-02T02:15:00Z")
        assert '"2040-01-01"' in _lines_until(run, "scheduled_run")
        _lines_until(run, "run_began")
        other = slow_cli("run", "halted.yaml", "--run-id", "other", "--if-running", "skip")
        assert (other.code, other.out.startswith("skipped  another run holds outputs/halted")) == (
            0,
            True,
        )
        run.send_signal(signal.SIGTERM)
        _lines_until(run, "stopping")
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=60)
    finally:
        for process in (killed, run):
            if process is not None:
                process.kill()
    assert run.returncode == 143, err
    envelope = json.loads(out.splitlines()[-1])
    assert [(each["run_id"], each["exit_code"]) for each in envelope["data"]["caught_up"]] == [
        ("2040-01-01", 143)
    ]
    assert not (slow_cli.cwd / "outputs/halted/2040-01-02").exists()


def _lines_until(process: subprocess.Popen[str], kind: str) -> str:
    """Read lines of JSON up to the first of a type, and return that."""
    assert process.stdout is not None
    while f'"type": "{kind}"' not in (line := process.stdout.readline()):
        assert line, "the command has ended"
    return line


@pytest.mark.parametrize("options", [(), ("--run-id", "mine")])
def test_the_next_command_has_the_time_that_the_prompts_use(
    cli: Cli, options: tuple[str, ...]
) -> None:
    """Without it, the same command would buy all jobs again on another day, as prompts differ."""
    head = DATED + 'schedule: {cron: "15 3 * * *"}\n'
    cli.write("dated", '- {name: fox, prompt: "a fox on {{ date }}", repeat: 2}', head=head)
    at = "2026-11-20T02:15:00Z"
    done = cli("run", "dated.yaml", *options, "--budget", "3", CRUCIBLE_BATCH_SCHEDULED_AT=at)
    assert (done.code, f"--scheduled-at {at}" in done.out) == (4, True)
    run_dir = f"outputs/dated/{options[1] if options else '2026-11-20'}"
    report = json.loads((cli.cwd / run_dir / "report.json").read_text(encoding="utf-8"))
    assert report["scheduled_at"] == at
    assert f"--scheduled-at {at}" in (cli.cwd / run_dir / "report.html").read_text(encoding="utf-8")
    for command in (("status", run_dir), ("status",)):
        shown = cli(*command)
        following = shown.out.partition("\n  next ")[2].split()
        assert (shown.code, following[:3]) == (0, ["crucible-batch", "run", "dated.yaml"]), (
            shown.out
        )
        words = following[1 : following.index("--scheduled-at") + 2]
        planned = cli("plan", *words[1:])
        assert "2 jobs: 1 new, 1 already done" in planned.out, planned.out


def test_the_next_command_has_no_time_without_need(cli: Cli) -> None:
    cli.write("timeless", '- {name: fox, prompt: "a fox", repeat: 2}', head=DATED)
    done = cli("run", "timeless.yaml", "--run-id", "mine", "--budget", "3")
    assert (
        done.code,
        "--scheduled-at" in done.out + cli("status", "outputs/timeless/mine").out,
    ) == (4, False)


@pytest.mark.parametrize(("head", "needs_it"), [("", False), (DATED, True)], ids=["plain", "dated"])
def test_a_run_that_did_not_start_is_repeated_with_its_time_only_if_its_id_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, needs_it: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with answering(500, body=INTERNAL) as url:
        cli = Cli(tmp_path, url)
        done = cli("run", cli.write("late", head=head), "--wait-for-gateway", "0")
        listed = cli("status").out
    assert done.code == 5, done.err
    assert "did not start" in listed
    assert "crucible-batch run late.yaml" in listed
    assert ("--scheduled-at" in listed) is needs_it

"""`check` against the ledger: what a person reads, what a script reads, and the exit code."""

import io
import json
import sqlite3
import urllib.request
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.check.audit import Audit
from crucible_batch.features.check.auditing import AuditResult
from crucible_batch.features.check.ledger_terminal import show_audit
from crucible_batch.features.check.verifying import UnsavedOutputs
from tests.harness.commands import Cli, running_sandbox


def tamper(run_dir: Path) -> None:
    """Make the journal say that the first job cost 3."""
    db = sqlite3.connect(run_dir / ".crucible/journal.sqlite3")
    with db:
        seq, body = db.execute(
            "SELECT seq, body FROM events WHERE type = 'Accepted' ORDER BY seq"
        ).fetchone()
        db.execute(
            "UPDATE events SET body = ? WHERE seq = ?",
            (json.dumps({**json.loads(body), "credits": "3"}), seq),
        )
    db.close()


def test_honest_books_end_in_difference_0(cli: Cli) -> None:
    cli.write("honest", "- {name: fox, prompt: a fox, repeat: 2}")
    assert cli("run", "honest.yaml", "-q").code == 0
    done = cli("check", "outputs/honest/default", "--ledger")
    assert (done.code, done.err) == (0, "")
    assert "✓ 0 differences from the ledger   honest · default" in done.out
    assert "2 checked: 4 charged" in done.out
    assert "back to 2" in done.out
    quiet = cli("check", "outputs/honest/default", "--ledger", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_difference_is_exit_7_and_names_the_job_what_the_books_say_and_what_the_ledger_says(
    cli: Cli,
) -> None:
    cli.write("tampered")
    assert cli("run", "tampered.yaml", "-q").code == 0
    run_dir = cli.cwd / "outputs/tampered/default"
    job_id = json.loads((run_dir / "report.json").read_text())["jobs"][0]["job_id"]
    tamper(run_dir)
    done = cli("check", str(run_dir), "--ledger")
    assert done.code == 7
    assert "✗ 1 difference from the ledger " in done.out
    assert f"fox · job {job_id}" in done.out
    assert "journal: 3 charged · ledger: 2 charged" in done.out
    quiet = cli("check", str(run_dir), "--ledger", "-q")
    assert (quiet.code, quiet.out) == (7, "")
    assert f"fox · job {job_id}" in quiet.err


def forget_entries(run_dir: Path) -> None:
    """Make the journal say that the second job was another one, which the ledger doesn't have."""
    db = sqlite3.connect(run_dir / ".crucible/journal.sqlite3")
    with db:
        rows = db.execute("SELECT seq, subject, type, body FROM events ORDER BY seq").fetchall()
        last = [subject for _, subject, kind, _ in rows if kind == "Accepted"][-1]
        for seq, subject, kind, body in rows:
            event = json.loads(body)
            if subject == last and kind == "Accepted":
                event["job_id"] = "00000000-0000-4000-8000-000000000000"
            db.execute("UPDATE events SET body = ? WHERE seq = ?", (json.dumps(event), seq))
    db.close()


def test_entries_that_may_not_be_listed_yet_are_a_difference_with_the_command_that_shows_it_later(
    cli: Cli,
) -> None:
    cli.write("late", "- {name: fox, prompt: a fox, repeat: 2}")
    assert cli("run", "late.yaml", "-q").code == 0
    forget_entries(cli.cwd / "outputs/late/default")
    url = cli.environment["CRUCIBLE_API_BASE"]
    typed = ("check", "outputs/late/default", "--ledger", "--api-base", url)
    done, quiet, script = (cli(*typed, *more) for more in ((), ("-q",), ("--json",)))
    assert (done.code, quiet.code, script.code) == (7, 7, 7)
    command = "crucible-batch " + " ".join(typed)
    assert "no entry in the ledger   it may not be listed yet" in done.out
    assert f"next     {command}   10 minutes later, shows what is still missing" in done.out
    assert f"next     {command} -q   10 minutes later" in quiet.err
    hint = script.envelope["error"]["hint"]
    assert hint.startswith(
        f"entries of the last 10 minutes that may not be listed yet: run {command} --json in 10"
    )


def test_a_script_reads_each_finding_and_the_envelope(cli: Cli) -> None:
    cli.write("scripted")
    assert cli("run", "scripted.yaml", "-q").code == 0
    run_dir = cli.cwd / "outputs/scripted/default"
    done = cli("check", str(run_dir), "--ledger", "--json")
    assert done.code == 0
    (job,) = [line["job"] for line in done.lines if line["type"] == "audited"]
    assert (job["name"], job["verdict"], job["books"]["charged"], job["ledger"]["charged"]) == (
        "fox",
        "agrees",
        "2",
        "2",
    )
    data = done.envelope["data"]["ledger"]
    assert (done.envelope["ok"], data["difference"], data["differences"]) == (True, 0, [])
    assert data["jobs"]["ledger"] == {"charged": "2", "returned": "0", "held": "0"}
    strangers = [line["entry"] for line in done.lines if line["type"] == "not_ours"]
    assert len(strangers) == sum(each["count"] for each in data["not_ours"].values())
    tamper(run_dir)
    done = cli("check", str(run_dir), "--ledger", "--json")
    assert (done.code, done.envelope["exit_code"], done.envelope["error"]["code"]) == (
        7,
        7,
        "DIFFERENCE",
    )
    assert [each["name"] for each in done.envelope["data"]["ledger"]["differences"]] == ["fox"]


def test_what_is_not_ours_is_counted_and_with_v_listed(cli: Cli) -> None:
    with running_sandbox("--time-scale", "0") as url:
        shared = Cli(cli.cwd, url)
        for name in ("mine", "theirs"):
            shared.write(name)
            assert shared("run", f"{name}.yaml", "-q").code == 0
        done, verbose = (
            shared("check", "outputs/mine/default", "--ledger", *more) for more in ((), ("-v",))
        )
        theirs = json.loads((cli.cwd / "outputs/theirs/default/report.json").read_text())["jobs"][
            0
        ]["job_id"]
    assert (done.code, verbose.code) == (0, 0)
    others = (
        "1 × consume (sum 2), 1 × grant (sum 1000), "
        "1 × reserve (sum 2)   from other runs or users of the account"
    )
    assert f"others   {others}" in done.out
    assert "not ours" not in done.out
    assert theirs not in done.out
    assert verbose.out.count(theirs) == 2


def test_outputs_that_were_not_saved_are_in_the_headline_with_the_command_that_saves_them() -> None:
    planned = PlannedJob(0, "hero", "hero", "w", {})
    more = UnsavedOutputs(
        planned,
        Job("hero", attempts=(Attempt(1, "key", Decimal(1)),)),
        retired=False,
        numbers=(0, 1),
        missing=1,
    )
    found = Audit((), None, (), (), 0.5, 0)
    out = io.StringIO()
    console = Console(file=out, width=200)
    show_audit(
        console, AuditResult(Path("out"), "m", "default", False, found, (more,)), verbose=False
    )
    first, *rest = out.getvalue().splitlines()
    assert first == "✗ 0 differences from the ledger, 1 unsaved output   m · default"
    assert "  next     crucible-batch check out --fix   saves the outputs, for no credits" in rest


def test_a_directory_that_is_none_or_of_another_gateway_is_exit_2(cli: Cli) -> None:
    assert cli("check", "nowhere").code == 2
    cli.write("bound")
    assert cli("run", "bound.yaml", "-q").code == 0
    done = cli("check", "outputs/bound/default", "--ledger", "--api-base", "http://127.0.0.1:9")
    assert done.code == 2
    assert "crucible-batch check outputs/bound/default --api-base http" in done.err


def test_without_a_key_it_is_exit_3(cli: Cli) -> None:
    cli.write("keyless")
    assert cli("run", "keyless.yaml", "-q").code == 0
    url = cli.environment["CRUCIBLE_API_BASE"]
    done = Cli(cli.cwd, None)("check", "outputs/keyless/default", CRUCIBLE_API_BASE=url)
    assert done.code == 3
    assert (
        "check only the outputs: crucible-batch check outputs/keyless/default --outputs" in done.err
    )


def test_both_halves_are_checked_and_one_error_names_the_differences_of_both(cli: Cli) -> None:
    cli.write("both")
    assert cli("run", "both.yaml", "-q").code == 0
    run_dir = cli.cwd / "outputs/both/default"
    done = cli("check", str(run_dir))
    assert done.code == 0
    assert [line[:1] for line in done.out.splitlines() if not line.startswith(" ")] == ["✓", "✓"]
    tamper(run_dir)
    (run_dir / "fox/0.png").unlink()
    checked = cli("check", str(run_dir), "--json")
    assert checked.code == 7
    assert checked.envelope["error"]["message"] == (
        "1 difference between the journal and the gateway's ledger; "
        "1 of 1 outputs differ from the journal"
    )
    assert checked.envelope["error"]["hint"] == f"crucible-batch check {run_dir} --fix"
    assert cli("check", str(run_dir), "--fix").code == 7  # the ledger differs still
    assert (run_dir / "fox/0.png").is_file()
    refused = cli("check", str(run_dir), "--fix", "--ledger")
    assert (refused.code, "--ledger checks only the ledger" in refused.err) == (2, True)


def set_list(cli: Cli, entries: int) -> None:
    """Let the gateway list so many entries of its ledger from now on."""
    body = json.dumps({"recent_entries": entries}).encode()
    urllib.request.urlopen(f"{cli.url}/_sandbox/config", body).close()


def test_a_tick_is_shown_only_if_all_purchases_were_checked(tmp_path: Path) -> None:
    """The first run saw the ledger, the second one did not: a gateway of today may list nothing
    tomorrow.
    """
    with running_sandbox("--time-scale", "0") as url:
        cli = Cli(tmp_path, url)
        cli.write("unseen", "- {name: fox, prompt: a fox, repeat: 2}")
        assert cli("run", "unseen.yaml", "-q").code == 0
        set_list(cli, 0)
        cli.write("unseen", "- {name: fox, prompt: a fox, repeat: 3}")
        assert cli("run", "unseen.yaml", "-q").code == 0
        done = cli("check", "outputs/unseen/default", "--ledger")
    assert "2 of 3 purchases checked" in done.out
    assert "✓" not in done.out
    assert "✗" not in done.out

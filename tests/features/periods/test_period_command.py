"""The budget of a period: manifests that share an account, from the command line and against a real
gateway.
"""

from __future__ import annotations

import shlex
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from tests.harness.commands import Cli, journalled, wait_until

FOUR = "- {name: fox, prompt: a fox, repeat: 4}"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write(
    cli: Cli,
    name: str,
    account: str,
    *,
    credits: int = 10,
    per: str = "month",
    more: str = "",
    head: str = "",
) -> str:
    budget = f"{{credits: {credits}, per: {per}, account: {account}{more}}}"
    return cli.write(name, FOUR, budget=budget, head=head)


def shown(cli: Cli, account: str) -> dict[str, str]:
    accounts = cli("budget", "show", account, "--json").envelope["data"]["accounts"]
    assert len(accounts) == 1
    return accounts[0]


def test_two_manifests_share_the_limit_of_their_account(cli: Cli) -> None:
    first, second = write(cli, "period-a", "shared"), write(cli, "period-b", "shared")
    assert cli("run", first, "-q").code == 0
    planned = cli("plan", second, "--json").envelope["data"]
    assert planned["credits"]["budget"] == "2"
    assert (planned["period"]["spent"], planned["period"]["left"]) == ("8", "2")
    plan = cli("plan", second).out
    assert "shared: 8 of 10 spent this month, 2 left until " in plan
    assert "budget    2 credits, the allowance of this run" in plan
    done = cli("run", second, "--json")
    data = done.envelope["data"]
    assert (done.code, data["credits"]["spent"], data["counts"]["blocked"]) == (4, "2", 3)
    period = data["period"]
    assert (period["account"], period["per"], period["limit"], period["spent"]) == (
        "shared",
        "month",
        "10",
        "10",
    )
    assert (period["set_aside"], period["exhausted"]) == ("0", True)
    error = done.envelope["error"]
    assert error["code"] == "BUDGET_EXHAUSTED"
    assert error["message"].startswith(
        "budget shared: 10 of 10 credits used or set aside this month; "
    )
    assert error["hint"] == f"more from {period['until']}: run the same command again then"
    assert period["until"].endswith("-01 00:00 UTC")
    # The run's own budget is what the period had left: with it, the command would be blocked in the
    # next period too.
    status = cli("status", data["run_dir"]).out
    assert "next" in status
    assert "--budget" not in status
    again = cli("run", second)
    assert again.code == 4
    assert "0 left of the allowance 2 (shared, this month)" in again.err
    (line,) = [line for line in again.out.splitlines() if line.lstrip().startswith("next")]
    command, _, comment = line.partition("   # ")
    assert comment == f"from {period['until']}"
    assert cli(*shlex.split(command)[2:]).code == 4
    blocked = cli("plan", second)
    assert (
        "no job can start: budget shared: 10 of 10 credits used or set aside this month"
        in " ".join(blocked.out.split())
    )
    assert f"# from {period['until']}" in blocked.out
    assert cli("report", "outputs/period-b/default", "--json").envelope["data"]["period"] == period
    assert f"; more from {period['until']}; exit code 4; " in cli("run", second, "-q").err
    account = shown(cli, "shared")
    assert (account["spent"], account["set_aside"], account["left"]) == ("10", "0", "0")
    page = (cli.cwd / "outputs/period-b/default/report.html").read_text(encoding="utf-8")
    assert f"Continue with (from {period['until']}):" in page


def test_a_run_with_declared_ceilings_sets_aside_only_what_it_may_need(slow_cli: Cli) -> None:
    name = write(slow_cli, "ceilings", "ceilings", credits=50, more=", max_credits_per_job: 3")
    process = slow_cli.start("run", name, "-q")
    try:
        wait_until(lambda: journalled(slow_cli, "ceilings", "Accepted"))
        account = shown(slow_cli, "ceilings")
        assert (account["spent"], account["set_aside"], account["left"]) == ("0", "12", "38")
        (run,) = account["runs"]
        assert (run["active"], run["open"], run["gone"]) == (True, True, False)
        # It is refused by the lock of the directory, and by that of the account if the directory
        # was renamed.
        process.send_signal(signal.SIGSTOP)
        run_dir = slow_cli.cwd / "outputs/ceilings/default"
        for place in (run_dir, run_dir.with_name("aside")):
            run_dir = run_dir.rename(place)
            refused = slow_cli(
                "budget", "release", "ceilings", "outputs/ceilings/default", "--json"
            )
            assert (refused.code, refused.envelope["error"]["code"]) == (6, "RUN_BUSY")
        run_dir.rename(run_dir.with_name("default"))
        # Another run has what is left, and its plan shows it.
        other = write(slow_cli, "beside", "ceilings", credits=50)
        assert slow_cli("plan", other, "--json").envelope["data"]["credits"]["budget"] == "38"
    finally:
        process.kill()
        process.communicate()
    after_a_kill(slow_cli)


def after_a_kill(cli: Cli) -> None:
    """The allowance of a killed run stays set aside until it is released; its jobs in flight still
    count."""
    text = cli("budget", "show").out
    assert "12 set aside since" in text
    assert "not active" in text
    assert "crucible-batch budget release ceilings" in text
    done = cli("budget", "release", "ceilings", "outputs/ceilings/default", "--json")
    assert done.code == 0, done.err
    (released,) = done.envelope["data"]["released"]
    account = shown(cli, "ceilings")
    held = Decimal(account["spent"]) + Decimal(account["set_aside"])
    assert 2 <= held <= 12
    assert Decimal(released["credits"]) == 12 - held
    again = cli(
        "budget", "release", "ceilings", "outputs/ceilings/default", "--forget-unanswered", "--json"
    )
    assert again.code == 0
    assert shown(cli, "ceilings")["set_aside"] == "0"


def test_without_a_directory_for_accounts_nothing_is_bought(cli: Cli) -> None:
    name = write(cli, "homeless", "homeless")
    for environment, hint in (
        ({"XDG_STATE_HOME": "", "HOME": ""}, "set CRUCIBLE_BATCH_ACCOUNTS"),
        ({"XDG_STATE_HOME": "/dev/null"}, "set CRUCIBLE_BATCH_ACCOUNTS"),
        ({"CRUCIBLE_BATCH_ACCOUNTS": "accounts"}, "set it to an absolute path"),
    ):
        done = cli("run", name, "--json", **environment)
        assert (done.code, hint in done.envelope["error"]["hint"]) == (2, True), done.err
    assert not (cli.cwd / "outputs").exists()
    chosen = str(cli.cwd / "accounts")
    assert (
        cli("run", name, "-q", CRUCIBLE_BATCH_ACCOUNTS=chosen, XDG_STATE_HOME="", HOME="").code == 0
    )
    (file,) = (cli.cwd / "accounts").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_account_is_refused_before_anything_is_bought(cli: Cli) -> None:
    name = write(cli, "damaged", "damaged")
    assert cli("run", name, "--budget", "2", "-q").code == 4
    (file,) = (cli.cwd / "state/crucible-batch/accounts").iterdir()
    file.write_bytes(b"no database")
    for command in (("run", name), ("plan", name), ("budget", "show")):
        done = cli(*command, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, "BUDGET_ACCOUNT")
    assert file.read_bytes() == b"no database"


def test_an_unknown_account_or_directory_is_named(cli: Cli) -> None:
    assert "no run has used a budget account yet" in cli("budget", "show").out
    done = cli("budget", "show", "nobody", "--json")
    assert (done.code, "no run has used one yet" in done.envelope["error"]["hint"]) == (2, True)
    assert cli("run", write(cli, "known", "known"), "-q").code == 0
    assert "there are: known" in cli("budget", "show", "nobody").err
    assert "has nothing of outputs/else" in cli("budget", "release", "known", "outputs/else").err

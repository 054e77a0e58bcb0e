"""The budget of a period: manifests that share an account, from the command line and against a real gateway."""

from __future__ import annotations

import shlex
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Cli, running_sandbox

FOUR = "- {name: fox, prompt: a fox, repeat: 4}"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write(
    cli: Cli, name: str, account: str, *, credits: int = 10, per: str = "month", more: str = "", head: str = ""
) -> str:
    budget = f"{{credits: {credits}, per: {per}, account: {account}{more}}}"
    return cli.write(name, FOUR, budget=budget, head=head)


def shown(cli: Cli, account: str) -> dict[str, str]:
    accounts = cli("budget", "show", account, "--json").envelope["data"]["accounts"]
    assert len(accounts) == 1
    return accounts[0]


def test_two_manifests_share_the_limit_of_their_account(cli: Cli) -> None:
    first, second = write(cli, "period-a", "shared"), write(cli, "period-b", "shared")
    assert cli("run", first, "-q", "--metrics-textfile", ".").code == 0
    metrics = (cli.cwd / "crucible-batch-period-a.prom").read_text()
    assert 'crucible_batch_period_spent_credits{account="shared",manifest="period-a"} 8.0' in metrics
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
    assert (period["account"], period["per"], period["limit"], period["spent"]) == ("shared", "month", "10", "10")
    assert (period["set_aside"], period["exhausted"]) == ("0", True)
    error = done.envelope["error"]
    assert error["code"] == "BUDGET_EXHAUSTED"
    assert error["message"].startswith("budget shared: 10 of 10 credits used or set aside this month; ")
    assert error["hint"] == f"more from {period['until']}: run the same command again then"
    assert period["until"].endswith("-01 00:00 UTC")
    # The run's own budget is what the period had left: with it, the command would be blocked in the next period too.
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
    assert "no job can start: budget shared: 10 of 10 credits used or set aside this month" in " ".join(
        blocked.out.split()
    )
    assert f"# from {period['until']}" in blocked.out
    assert cli("report", "outputs/period-b/default", "--json").envelope["data"]["period"] == period
    assert f"; more from {period['until']}; exit code 4; " in cli("run", second, "-q").err
    account = shown(cli, "shared")
    assert (account["spent"], account["set_aside"], account["left"]) == ("10", "0", "0")
    assert "Resume after" in (cli.cwd / "outputs/period-b/default/report.html").read_text(encoding="utf-8")


def test_a_higher_limit_in_one_manifest_lets_it_continue(cli: Cli) -> None:
    first, second = write(cli, "limit-a", "raised"), write(cli, "limit-b", "raised")
    assert [cli("run", name, "-q").code for name in (first, second)] == [0, 4]
    write(cli, "limit-b", "raised", credits=16)
    assert cli("run", second, "-q").code == 0
    assert shown(cli, "raised")["spent"] == "16"


def test_the_runs_own_budget_is_within_the_periods(cli: Cli) -> None:
    name = write(cli, "own-budget", "own")
    done = cli("run", name, "--budget", "4", "--json")
    data = done.envelope["data"]
    assert (done.code, data["credits"]["spent"], data["credits"]["budget"]) == (4, "4", "4")
    assert (data["period"]["spent"], data["period"]["exhausted"]) == ("4", False)
    assert "budget own" not in done.envelope["error"]["message"]
    assert "--budget 8" in cli("run", name, "--budget", "4").out
    assert cli("run", name, "--budget", "100", "-q").code == 0


def test_a_run_with_declared_ceilings_sets_aside_only_what_it_may_need(slow_cli: Cli) -> None:
    name = write(slow_cli, "ceilings", "ceilings", credits=50, more=", max_credits_per_job: 3")
    process = slow_cli.start("run", name, "-q")
    try:
        wait_until(lambda: journalled(slow_cli, "ceilings", "Accepted"))
        account = shown(slow_cli, "ceilings")
        assert (account["spent"], account["set_aside"], account["left"]) == ("0", "12", "38")
        (run,) = account["runs"]
        assert (run["active"], run["open"], run["gone"]) == (True, True, False)
        refused = slow_cli("budget", "release", "ceilings", "outputs/ceilings/default", "--json")
        assert (refused.code, refused.envelope["error"]["code"]) == (6, "RUN_BUSY")
        # Another run has what is left, and its plan shows it.
        other = write(slow_cli, "beside", "ceilings", credits=50)
        assert slow_cli("plan", other, "--json").envelope["data"]["credits"]["budget"] == "38"
    finally:
        process.kill()
        process.communicate()
    after_a_kill(slow_cli)


def after_a_kill(cli: Cli) -> None:
    """The allowance of a killed run stays set aside until it is released; its jobs in flight still count."""
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
    again = cli("budget", "release", "ceilings", "outputs/ceilings/default", "--forget-unanswered", "--json")
    assert again.code == 0
    assert shown(cli, "ceilings")["set_aside"] == "0"
    assert cli("budget", "release", "ceilings", "outputs/ceilings/default", "--spent", "3").code == 2


def test_the_allowance_of_a_directory_that_is_gone_counts_as_spent(slow_cli: Cli) -> None:
    name = write(slow_cli, "gone", "gone", credits=30)
    process = slow_cli.start("run", name, "-q")
    wait_until(lambda: journalled(slow_cli, "gone", "Accepted"))
    process.kill()
    process.communicate()
    shutil.rmtree(slow_cli.cwd / "outputs")
    account = shown(slow_cli, "gone")
    assert (account["set_aside"], account["runs"][0]["gone"]) == ("30", True)
    assert "its journal is gone" in slow_cli("budget", "show", "gone").out
    other = write(slow_cli, "other", "gone", credits=30)
    assert slow_cli("plan", other, "--json").envelope["data"]["credits"]["budget"] == "0"
    assert slow_cli("budget", "release", "gone", "outputs/gone/default", "--spent", "8").code == 2
    done = slow_cli("budget", "release", "gone", "outputs/gone/default")
    assert "0 credits released" in done.out
    account = shown(slow_cli, "gone")
    assert (account["spent"], account["set_aside"]) == ("30", "0")


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
    assert cli("run", name, "-q", CRUCIBLE_BATCH_ACCOUNTS=chosen, XDG_STATE_HOME="", HOME="").code == 0
    (file,) = (cli.cwd / "accounts").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("per", "head", "named"),
    [("day", "", "budget.per 'day'"), ("month", "timezone: Europe/Berlin\n", "timezone 'Europe/Berlin'")],
)
def test_another_period_or_zone_is_refused(cli: Cli, per: str, head: str, named: str) -> None:
    account = f"mixed-{per}"
    assert cli("run", write(cli, f"mixed-{per}-a", account), "-q").code == 0
    name = write(cli, f"mixed-{per}-b", account, per=per, head=head)
    for command in ("run", "plan"):
        done = cli(command, name, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, "BUDGET_ACCOUNT")
        assert named in done.envelope["error"]["message"]
    assert not (cli.cwd / f"outputs/mixed-{per}-b").exists()


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


def journalled(cli: Cli, name: str, event: str) -> bool:
    file = cli.cwd / f"outputs/{name}/default/.crucible/journal.sqlite3"
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM events WHERE type = ?", (event,)).fetchone() is not None
    except sqlite3.Error:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- several runs at once, some of them killed ----------------------------------------------------------------------


def ledger_rows(state: Path) -> Iterator[tuple[float, Decimal, str]]:
    """Yield time, cost and job of each row of the gateway's ledger, without the grants and the rows of no cost."""
    with closing(sqlite3.connect(state)) as connection:
        fields = ", ".join(
            f"record ->> '{name}'" for name in ("entry_type", "amount", "created_at", "job_id", "asset_id")
        )
        query = f"SELECT {fields} FROM record WHERE kind = 'Entry' ORDER BY seq"
        for kind, number, at, job, asset in connection.execute(query):
            amount = Decimal(str(number))
            cost = abs(amount)
            if kind in {"reserve", "refund"}:
                yield at, -cost if kind == "refund" else cost, job
            elif asset is not None:
                yield at, -amount, asset


def worst_of_each_month(state: Path) -> dict[str, Decimal]:
    """Return the highest sum that each month had at any row; a refund counts in the month of its charge only."""
    charged: dict[str, str] = {}
    sums: dict[str, Decimal] = {}
    worst: dict[str, Decimal] = {}
    for at, cost, subject in ledger_rows(state):
        month = datetime.fromtimestamp(at).astimezone().strftime("%Y-%m")
        if charged.setdefault(subject, month) == month:
            sums[month] = sums.get(month, Decimal(0)) + cost
            worst[month] = max(worst.get(month, Decimal(0)), sums[month])
    return worst


def _has_held(journal: Path) -> bool:
    """Return whether a run has held credits for a purchase."""
    if not journal.exists():
        return False
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        try:
            return bool(connection.execute("SELECT count(*) FROM events WHERE type = 'Held'").fetchall()[0][0])
        except sqlite3.OperationalError:  # no table yet
            return False


def _first_to_hold(cwd: Path, processes: Sequence[Any]) -> Any:
    """Wait until one of the runs is about to buy: which one gets the credits of the account is chance."""
    while True:
        for number, process in enumerate(processes):
            if _has_held(cwd / "outputs" / f"crowd{number}" / "default" / ".crucible" / "journal.sqlite3"):
                return process
        assert any(process.poll() is None for process in processes)
        time.sleep(0.005)


def _three_at_once(cwd: Path, *, kills: int, options: tuple[str, ...]) -> None:
    state = cwd / "gateway.sqlite3"
    with running_sandbox("--state", str(state), "--time-scale", "0.02", *options) as url:
        assert url.startswith("http://127.0.0.1:")
        cli = Cli(cwd, url)
        names = []
        for number in range(3):
            budget = "{credits: 40, per: month, account: crowd, max_credits_per_job: 6}"
            jobs = f"- {{name: fox, prompt: a fox {number}, repeat: 10}}"
            names.append(cli.write(f"crowd{number}", jobs, budget=budget))
        for round_number in range(kills):
            processes = [cli.start("run", name, "-q", "--retry-failed") for name in names]
            victim = processes[round_number % 3] if round_number else _first_to_hold(cwd, processes)
            time.sleep(0.2 * round_number)
            victim.kill()
            for process in processes:
                process.communicate(timeout=600)
            assert round_number or victim.returncode == -signal.SIGKILL
        codes = [cli("run", name, "-q", "--retry-failed", timeout_s=600).code for name in names]
        account = shown(cli, "crowd")
        assert (account["left"], account["set_aside"]) != ("40", "0")
    (worst,) = worst_of_each_month(state).values()
    assert 0 < worst <= 40
    assert Decimal(account["spent"]) + Decimal(account["set_aside"]) >= sum(cost for _, cost, _ in ledger_rows(state))
    assert set(codes) <= {0, 1, 4}
    assert 4 in codes, "thirty jobs for 40 credits at 2 or more each can't all be bought"


def test_three_runs_at_once_with_a_kill_keep_to_the_limit(tmp_path: Path) -> None:
    _three_at_once(tmp_path, kills=1, options=("--faults", "generate.fail:0.2"))


@pytest.mark.slow
@pytest.mark.parametrize("pricing", ["zimage-base.base=2", "zimage-base.jitter=0.9", "zimage-base.rise-after=6x2"])
def test_three_runs_at_once_with_many_kills_and_moving_prices(tmp_path: Path, pricing: str) -> None:
    _three_at_once(tmp_path, kills=5, options=("--pricing", pricing, "--faults", "generate.drop-after:0.1"))

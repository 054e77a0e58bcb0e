"""What a run says about credits and about the next step is so: judged by the gateway's ledger, and by doing it."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.between import Between, gateway_between
from tests.integration.cli.conftest import Cli, Done
from tests.integration.cli.screen import Screen
from tests.integration.cli.typing_along import in_shell

NO_CREDITS = {"success": False, "code": "INSUFFICIENT_CREDITS", "error": "Insufficient credits"}
NO_JOB = {"success": False, "code": "JOB_NOT_FOUND", "error": "no such job"}


def paid_at(url: str | None) -> Decimal:
    """What the gateway has charged for jobs and uploads, and what it has reserved for those in flight."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        audit = json.load(answer, parse_float=Decimal)["audit"]
    return Decimal(audit["spent_on_jobs"]) + audit["spent_on_uploads"] + audit["reserved"]


def line_of(done: Done, label: str) -> str | None:
    """The line of the summary with a label, without it."""
    found = re.search(rf"^ {{2}}{label} +(.*)$", done.out, re.MULTILINE)
    return None if found is None else found[1]


def rows_of(cli: Cli, run_dir: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads((cli.cwd / run_dir / "report.json").read_text(encoding="utf-8"))["jobs"]
    return jobs


@pytest.fixture
def between(gateway: str) -> Iterator[Between]:
    with gateway_between(gateway) as found:
        yield found


def fox(cli: Cli, name: str, repeat: int, *, budget: str = "{credits: 100}") -> str:
    return cli.write(name, f"- {{name: fox, prompt: a fox of {name}, repeat: {repeat}}}", budget=budget)


# -- what was paid --


def test_a_run_that_finds_all_of_its_jobs_again_says_that_nothing_was_paid(cli: Cli) -> None:
    manifest = fox(cli, "again", 4)
    assert cli("run", manifest, "-q").code == 0
    shutil.rmtree(cli.cwd / "outputs/again")
    before = paid_at(cli.url)
    done = cli("run", manifest)
    assert (done.code, paid_at(cli.url)) == (0, before)
    words = line_of(done, "credits") or ""
    assert not re.search(r"\b8 spent(?! by (all|earlier))", words), words
    assert re.search(r"\b0 (spent|paid|bought)|nothing (was )?(spent|paid|bought)", words), words
    assert re.search(r"\b8\b", words), "the credits that the jobs once cost are not told"


def test_a_run_that_finds_some_jobs_again_says_what_it_paid_for_the_others(cli: Cli) -> None:
    assert cli("run", fox(cli, "partly", 3), "-q").code == 0
    shutil.rmtree(cli.cwd / "outputs/partly")
    before = paid_at(cli.url)
    done = cli("run", fox(cli, "partly", 5))
    assert (done.code, paid_at(cli.url)) == (0, before + 4)
    words = line_of(done, "credits") or ""
    assert not re.search(r"\b10 spent(?! by (all|earlier))", words), words
    assert re.search(r"\b4 (spent|paid|bought)", words), words
    assert re.search(r"\b6\b[^·]*(reused|found)|(reused|found)[^·]*\b6\b", words), words


def test_a_run_without_a_budget_holds_nothing_that_a_price_could_exceed(cli: Cli) -> None:
    done = cli("run", fox(cli, "free", 2, budget=""), "--yes")
    assert done.code == 0, done.err
    assert "more than the" not in done.out
    assert "held for it" not in done.out
    assert "held for it" not in cli("status", "outputs/free/default").out


# -- what is asked and shown before --


def test_the_question_for_consent_has_the_estimate_of_the_plan(cli: Cli) -> None:
    assert cli("run", fox(cli, "ask", 2), "-q").code == 0
    manifest = fox(cli, "ask", 7, budget="")
    assert cli("plan", manifest, "--json").envelope["data"]["credits"]["estimate"] == "10"
    before = paid_at(cli.url)
    with closing(Screen(cli, ["run", manifest], 100)) as screen:
        screen.read_until("[y/N]")
        question = " ".join(screen.text.rpartition("nothing limits")[2].split())
        screen.type("n\n")
        assert screen.finish() != 0
    assert re.search(r"\b10\b", question), question
    assert paid_at(cli.url) == before


@pytest.mark.parametrize("budget", ["{credits: 100}", ""])
def test_a_bound_says_what_it_is_made_of(cli: Cli, budget: str) -> None:
    name = "bound" if budget else "bound-free"
    assert cli("run", fox(cli, name, 2), "-q").code == 0
    planned = cli("plan", fox(cli, name, 5, budget=budget))
    assert re.search(r"\b32\b", planned.out), planned.out
    # in the row of the table, or in a sentence about the bound
    lines = [line for line in planned.out.splitlines() if re.search(r"\bbound\b|\b32\b", line)]
    made_of = re.compile(r"\b16 ?(x|×|times) (the )?(highest|price)", re.IGNORECASE)
    assert any(made_of.search(line) for line in lines), planned.out


# -- a gateway that contradicts itself --


def test_a_402_beside_a_full_account_is_not_called_a_lack_of_credits(cli: Cli, between: Between) -> None:
    refused = Cli(cli.cwd, between.url)
    between.answers[("POST", "/api/v1/generate")] = (402, NO_CREDITS)
    before = paid_at(cli.url)
    done = refused("run", fox(cli, "full", 2))
    assert (done.code, paid_at(cli.url), between.asked > 0) == (4, before, True)
    text = " ".join(done.out.split())
    assert "costs more" not in text
    assert re.search(r"\b(402|refused|refuses|although|but)\b", text), text
    assert re.search(r"\b\d{2},?\d{3}(\.\d+)? credits", text), "the balance is not told"
    assert not (line_of(done, "next") or "").startswith("add credits")


@pytest.mark.slow
def test_after_such_a_402_the_printed_command_finishes_the_run(cli: Cli, between: Between) -> None:
    refused = Cli(cli.cwd, between.url)
    between.answers[("POST", "/api/v1/generate")] = (402, NO_CREDITS)
    done = refused("run", fox(cli, "over", 1))
    between.answers.clear()
    command = (line_of(done, "next") or "").rpartition("then: ")[2]
    assert command.startswith("crucible-batch ")
    assert in_shell(refused, command).returncode == 0


# -- next commands --


@pytest.mark.parametrize("out_dir", ["outputs/taken/default", pytest.param("it's mine", marks=pytest.mark.slow)])
def test_the_next_step_beside_a_file_of_others_saves_the_output(cli: Cli, out_dir: str) -> None:
    manifest = fox(cli, "taken" if "/" in out_dir else "taken-too", 2)
    target = cli.cwd / out_dir / "fox-1/0.png"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    done = cli("run", manifest, "--out-dir", out_dir)
    assert (done.code, "OUTPUT_EXISTS" in done.out) == (1, True)
    before = paid_at(cli.url)
    first, then, command = (line_of(done, "next") or "").rpartition("then: ")
    if then:  # a sentence: it says what a person does first
        assert "fox-1/0.png" in first
        target.rename(target.with_name("mine.png"))
    ran = in_shell(cli, command)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {row["status"] for row in rows_of(cli, out_dir)} == {"succeeded"}
    assert paid_at(cli.url) == before
    assert target.read_bytes().startswith(b"\x89PNG")
    kept = [path for path in Path(cli.cwd).rglob("*") if path.is_file() and path.read_bytes() == b"mine"]
    assert len(kept) == 1, "the file of others is gone"


def test_the_next_step_after_a_lost_job_is_no_command_that_changes_nothing(cli: Cli, between: Between) -> None:
    losing = Cli(cli.cwd, between.url)
    between.answers[("GET", "/api/v1/jobs/")] = (404, NO_JOB)
    done = losing("run", fox(cli, "lost", 1))
    assert (done.code, "LOST_BY_GATEWAY" in done.out) == (1, True)
    (row,) = rows_of(cli, "outputs/lost/default")
    before = paid_at(cli.url)
    step = line_of(done, "next")
    if step is None:
        assert "operator" in done.out
        return
    first, then, command = step.rpartition("then: ")
    if not command.startswith("crucible-batch "):
        assert "operator" in step
        return
    if then:
        assert "operator" in first
        between.answers.clear()  # the operator has found it
    ran = in_shell(losing, command)
    (now,) = rows_of(cli, "outputs/lost/default")
    assert (now["status"], ran.returncode) != (row["status"], done.code), f"{command!r} changes nothing"
    assert paid_at(cli.url) == before

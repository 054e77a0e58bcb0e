"""What a run says about credits and about the next step is so: judged by the gateway's ledger, and
by doing it.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, Done
from tests.harness.sandbox_audit import with_audit
from tests.harness.shell import in_shell


def paid_at(url: str | None) -> Decimal:
    """What the gateway has charged for jobs and uploads, and what it has reserved for those in
    flight."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        audit = with_audit(json.load(answer, parse_float=Decimal))["audit"]
    return Decimal(audit["spent_on_jobs"]) + audit["spent_on_uploads"] + audit["reserved"]


def line_of(done: Done, label: str) -> str | None:
    """The line of the summary with a label, without it."""
    found = re.search(rf"^ {{2}}{label} +(.*)$", done.out, re.MULTILINE)
    return None if found is None else found[1]


def rows_of(cli: Cli, run_dir: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads(
        (cli.cwd / run_dir / "report.json").read_text(encoding="utf-8")
    )["jobs"]
    return jobs


def fox(cli: Cli, name: str, repeat: int, *, budget: str = "{credits: 100}") -> str:
    return cli.write(
        name, f"- {{name: fox, prompt: a fox of {name}, repeat: {repeat}}}", budget=budget
    )


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


# -- what is asked and shown before --


# -- a gateway that contradicts itself --


# -- next commands --


@pytest.mark.parametrize(
    "out_dir", ["outputs/taken/default", pytest.param("it's mine", marks=pytest.mark.slow)]
)
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
    kept = [
        path for path in Path(cli.cwd).rglob("*") if path.is_file() and path.read_bytes() == b"mine"
    ]
    assert len(kept) == 1, "the file of others is gone"

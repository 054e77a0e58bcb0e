"""A plan is divided only if each maximum price that its jobs need is declared. The ledger of the
sandbox is the judge.

Without a maximum, each shard may exceed its allowance by the price of one job, and all of them at
the same time.
"""

from __future__ import annotations

import json
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.harness.commands import Cli, Done, running_sandbox

BUDGET = 40
TWELVE = "- {name: fox, prompt: a fox, repeat: 12}"
WITH_IMAGE = (
    "- {name: fox, prompt: a fox, repeat: 4}\n"
    '- {name: edit, prompt: at night, workflow: qwen-edit, image: "a.png"}'
)
JOB, UPLOAD = "budget.max_credits_per_job", "budget.max_credits_per_upload"


def budget_of(*maxima: str) -> str:
    values = {"job": ", max_credits_per_job: 8", "upload": ", max_credits_per_upload: 1"}
    return f"{{credits: {BUDGET}{''.join(values[each] for each in maxima)}}}"


def ledger_of(cli: Cli) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
        rows: list[dict[str, Any]] = json.load(answer, parse_float=Decimal)["ledger"]
    return rows


def divide(cli: Cli, name: str, *options: str) -> Done:
    return cli("plan", f"{name}.yaml", "--shards", "4", "-o", "plan.json", *options)


@pytest.fixture
def own(tmp_path: Path) -> Any:
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield Cli(tmp_path, url)


def write(cli: Cli, name: str, jobs: str, *maxima: str) -> None:
    Image.new("RGB", (8, 8), "navy").save(cli.cwd / "a.png")
    cli.write(name, jobs, budget=budget_of(*maxima))


@pytest.mark.parametrize("probe", [(), ("--probe",)], ids=["plan", "probe"])
@pytest.mark.parametrize(
    ("jobs", "maxima", "missing"),
    [
        (TWELVE, (), [JOB]),
        (TWELVE, ("upload",), [JOB]),
        (WITH_IMAGE, (), [JOB, UPLOAD]),
        (WITH_IMAGE, ("job",), [UPLOAD]),
        (WITH_IMAGE, ("upload",), [JOB]),
    ],
)
def test_a_plan_without_a_maximum_that_its_jobs_need_is_not_divided(
    own: Cli, jobs: str, maxima: tuple[str, ...], missing: list[str], probe: tuple[str, ...]
) -> None:
    """It is refused before anything is bought, also by a probe, and leaves nothing behind."""
    write(own, "missing", jobs, *maxima)
    done = divide(own, "missing", *probe, "--json")
    rows = [row for row in ledger_of(own) if row["entry_type"] != "grant"]
    assert done.code == 2, done.out
    assert rows == []
    error = done.envelope["error"]
    text = f"{error['message']} {error['hint']}"
    for each in missing:
        assert each in text
    for each in {JOB, UPLOAD} - set(missing):
        assert each not in text, "only what is missing is asked for"
    assert not (own.cwd / "plan.json").exists()
    assert not (own.cwd / "outputs/missing/default/shards").exists()


def test_a_price_that_is_known_is_no_maximum(own: Cli) -> None:
    write(own, "seen", TWELVE)
    assert own("run", "seen.yaml", "--only", "fox-1", "-q").code == 0
    done = divide(own, "seen", "--json")
    assert done.code == 2, done.out
    assert JOB in done.envelope["error"]["message"] + done.envelope["error"]["hint"]
    assert not (own.cwd / "plan.json").exists()


def test_a_job_with_images_that_is_not_chosen_needs_no_maximum_for_uploads(own: Cli) -> None:
    write(own, "chosen", f"{WITH_IMAGE}\n- {{name: hen, prompt: a hen, repeat: 4}}", "job")
    done = divide(own, "chosen", "--only", "hen-*")
    assert done.code == 0, done.err

"""Two thousand jobs under faults in four shards. The judge is the gateway's own ledger."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.cli.conftest import KEY, clean_environment, running_sandbox
from tests.preloaded import COMMAND
from tests.verification.objectstore.scene import PRICE, Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

JOBS = 2000
BUDGET = int(JOBS * PRICE)
"""What the jobs cost, and nothing more: credits that are lost on the way leave a job unbought."""
FAULTS = (
    "429:0.03,503-before:0.02,500-after:0.01,generate.drop-after:0.02,drop-before:0.01,download.drop-after:0.01,"
    "short-body:0.01"
)
GATEWAY = ("--time-scale", "0.1", "--runners", "40", "--credits", "10000", "--faults", FAULTS)
MANIFEST = f"""\
version: 1
name: spring
workflow: zimage-base
concurrency: 16
budget: {{credits: {BUDGET}, max_credits_per_job: {PRICE}}}
jobs:
  - name: fox
    prompt: "a fox, number {{{{ repeat }}}}"
    params: {{size.width: 64, size.height: 64, sampler.seed: "{{{{ repeat | int }}}}"}}
    repeat: {JOBS}
"""


def test_two_thousand_jobs_in_four_shards_are_bought_once(tmp_path: Path) -> None:
    (tmp_path / "spring.yaml").write_text(MANIFEST, encoding="utf-8")
    with running_sandbox(*GATEWAY) as url:
        scene = Scene(tmp_path, url, Decimal(BUDGET))
        environment = clean_environment(MOLTAZINE_API_KEY=KEY, CRUCIBLE_API_BASE=url)

        def command(*words: str) -> None:
            done = subprocess.run(
                [COMMAND, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr

        command("plan", "spring.yaml", "--shards", "4", "--probe", "-o", "plan.json")
        for number in range(1, 5):
            command("run", "plan.json", "--shard", f"{number}/4")
        command("merge", "outputs/spring/default")
        scene.check_all_done(JOBS)

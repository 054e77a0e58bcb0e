"""A budget below what the shards that are out may still spend starts nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import CrucibleBatchError, UserError
from crucible_batch.features.machines.coordinator import run_on_machines
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings
from tests.harness.shard_ground import ShardGround

MANIFEST = """\
version: 1
name: campaign
workflow: zimage-base
budget: {credits: %s, max_credits_per_job: 2%s}
jobs: [{name: fox, prompt: a fox}]
"""


class Started(Exception):
    """A shard was started."""


class NoEngine:
    async def places(self) -> int:
        raise Started

    async def run(self, _task: ShardTask) -> ShardEnd:
        raise Started

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("credits", "period", "budget", "is_refused"),
    [
        pytest.param("100", "", "79.99", True, id="--budget"),
        pytest.param("79.99", "", None, True, id="that of the manifest"),
        pytest.param("100", "", "80", False, id="what is set aside"),
        pytest.param("100", ", per: month, account: a", "79.99", True, id="--budget in a period"),
        pytest.param("10", ", per: month, account: a", None, False, id="that of a period"),
    ],
)
async def test_nothing_is_started_with_a_budget_below_what_is_set_aside(
    tmp_path: Path, credits: str, period: str, budget: str | None, *, is_refused: bool
) -> None:
    ground = ShardGround(tmp_path)
    ground.divide()
    manifest = tmp_path / "campaign.yaml"
    manifest.write_text(MANIFEST % (credits, period))
    request = RunRequest(
        manifest,
        out_dir=ground.main,
        budget=None if budget is None else Decimal(budget),
        features=(MachineOptions(on="local:2", divide=2),),
    )
    given: dict[str, Any] = {"settings": Settings("key"), "engine": NoEngine()}
    ignored: Any = lambda _request: None  # noqa: E731
    if is_refused:
        with pytest.raises(UserError, match="used and set aside"):
            await run_on_machines(request, ignored, **given)
    else:  # it goes on, to the plan of the shards, which is not in this directory
        with pytest.raises(CrucibleBatchError, match="is missing, and shards of it are not merged"):
            await run_on_machines(request, ignored, **given)

"""A server with a cap runs no shard of a divided plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch import plan
from crucible_batch.errors import UserError
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.runs import running
from crucible_batch.runs.request import RunRequest
from tests.features.agents.client import Connect


async def test_a_shard_is_refused_since_its_credits_were_set_aside_elsewhere(
    connect: Connect,
) -> None:
    async with connect(6) as agent:
        fox = agent.write(
            "fox", "{name: fox, prompt: a fox, repeat: 2}", "{credits: 4, max_credits_per_job: 2}"
        )
        await plan(fox, save_to="plan.json", shards=2, settings=agent.bench.settings)
        request = RunRequest(Path("plan.json"), features=(ShardChoice("1/2"),))
        with pytest.raises(UserError, match="runs no shards"):
            await running.run_request(
                request,
                lambda request: kind_of(request, cap=agent.tools.cap),
                settings=agent.bench.settings,
            )
        assert await agent.billed() == 0

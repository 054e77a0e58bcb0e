"""An agent runs a few of many jobs before it runs all."""

from __future__ import annotations

from typing import Any

import pytest

from crucible_batch import features
from tests.features.agents.client import Connect, code


@pytest.mark.parametrize("option", ["sample", "first"])
async def test_a_few_jobs_are_run_and_what_all_would_cost_is_said(
    connect: Connect, option: str
) -> None:
    async with connect(100) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 5}")
        planned = await agent("plan", manifest=fox, budget="20", **{option: 2})
        assert planned["data"]["total"] == 2
        ran = await agent("run", manifest=fox, budget="20", **{option: 2})
        assert (ran["ok"], ran["data"]["counts"]["succeeded"]) == (True, 2)
        assert ran["data"]["all_jobs"]["credits"] == "10"
        assert await agent.billed() == 4
        assert (await agent("run", manifest=fox, budget="20"))["ok"]
        assert await agent.billed() == 10


async def test_the_arguments_are_unknown_without_the_feature(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(100) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 5}")
        exists: Any = features.exists
        monkeypatch.setattr(
            "crucible_batch.features.agents.mcp_server.tools.exists",
            lambda feature: feature != "sample" and exists(feature),
        )
        refused = await agent("run", manifest=fox, budget="20", sample=2)
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")
        assert await agent.billed() == 0

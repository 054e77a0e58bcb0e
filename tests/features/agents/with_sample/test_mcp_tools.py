"""An agent runs a few of many jobs before it runs all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crucible_batch.features.agents.mcp_server import tools
from tests.features.agents.client import Connect


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


def test_the_arguments_are_unknown_without_the_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"manifest": "fox.yaml", "sample": 2}
    assert tools.RunArguments.model_validate(given).sample == 2
    monkeypatch.setattr(tools, "exists", lambda feature: feature != "sample")
    with pytest.raises(ValidationError, match="sample is not permitted"):
        tools.RunArguments.model_validate(given)
    tools.RunArguments.model_validate({"manifest": "fox.yaml"})

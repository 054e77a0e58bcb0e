"""What a plan of stages shows an agent: the budget that is enough for all of them."""

from __future__ import annotations

from decimal import Decimal

from tests.features.agents.client import Connect

STAGES = """{name: draft, prompt: a fox, repeat: 3}
  - {name: 'edit-{{ source.name }}', from: 'draft*', workflow: qwen-edit, prompt: in the snow}
  - {name: 'last-{{ source.name }}', from: 'edit*', workflow: qwen-edit, prompt: at night}"""


async def test_at_most_counts_the_stages_so_that_it_is_enough_for_the_run(connect: Connect) -> None:
    async with connect(100) as agent:
        manifest = agent.write(
            "stages", STAGES, "{max_credits_per_job: 4, max_credits_per_upload: 1}"
        )
        planned = await agent("plan", manifest=manifest)
        at_most = planned["data"]["credits"]["at_most"]
        assert at_most is not None
        # 9 jobs at 4 and 6 uploads at 1
        assert Decimal(at_most) == 42
        ran = await agent("run", manifest=manifest, budget=at_most)
        assert ran["ok"], ran["error"]
        assert ran["data"]["counts"]["succeeded"] == 9
        assert 18 < await agent.billed() <= Decimal(at_most)
        again = await agent("plan", manifest=manifest)
        assert Decimal(again["data"]["credits"]["at_most"]) == 0


async def test_at_most_is_not_known_while_a_price_of_a_stage_is_not(connect: Connect) -> None:
    async with connect(100) as agent:
        jobs, _, stages = STAGES.partition("\n")
        fox = agent.write("fox", jobs, "{credits: 20}")
        assert (await agent("run", manifest=fox, budget="20"))["ok"]
        staged = agent.write("fox", f"{jobs.replace('3', '4')}\n{stages}", "{credits: 20}")
        assert (await agent("plan", manifest=staged))["data"]["credits"]["at_most"] is None

"""A report of the server names the pictures that a check has flagged."""

from __future__ import annotations

from tests.features.agents.client import Connect


async def test_a_report_shows_which_pictures_were_flagged(connect: Connect) -> None:
    async with connect(20) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 2}")
        path = agent.bench.path / fox
        path.write_text(path.read_text() + "checks: {size: {min: [9999, 9999]}}\n")
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        jobs = (await agent("report", run_dir="outputs/fox/default"))["data"]["jobs"]
        for job in jobs:
            (output,) = job["outputs"]
            assert output["checks"]
            assert "sha256" not in output

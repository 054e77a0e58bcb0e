"""An agent rejects pictures at the user's word, and the next run buys these again."""

from __future__ import annotations

import pytest

from crucible_batch import run
from crucible_batch.features.agents.mcp_server import tools
from tests.features.agents.client import Connect, code


async def test_rejected_outputs_are_planned_and_bought_again_and_can_be_taken_back(
    connect: Connect,
) -> None:
    async with connect(100) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 3}")
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        before = await agent.billed()
        rejected = await agent(
            "reject", run_dir="outputs/fox/default", names=["fox-2"], reason="two tails"
        )
        assert [line["name"] for line in rejected["data"]["added"]] == ["fox-2"]
        assert await agent.billed() == before
        planned = await agent("plan", manifest=fox, budget="10")
        assert (planned["data"]["states"]["new"], planned["data"]["states"]["done"]) == (1, 2)
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        assert await agent.billed() == before + 2
        back = await agent("reject", run_dir="outputs/fox/default", names=["fox-2"], remove=True)
        assert back["data"]["rejections"] == 0
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        assert await agent.billed() == before + 2


async def test_reject_is_offered_without_a_cap_and_as_one_that_writes(connect: Connect) -> None:
    async with connect() as agent:
        listed = {tool.name: tool for tool in (await agent.client.list_tools()).tools}
        annotations = listed["reject"].annotations
        assert annotations is not None
        assert annotations.read_only_hint is False


async def test_names_that_the_run_does_not_have_change_nothing(connect: Connect) -> None:
    async with connect(100) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        refused = await agent("reject", run_dir="outputs/fox/default", names=["fox", "wolf"])
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")
        assert not (agent.bench.path / "outputs/fox/default/rejects.txt").exists()


async def test_a_file_of_rejections_outside_of_the_root_is_not_written(connect: Connect) -> None:
    async with connect(100) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        outside = agent.bench.path.parent / "elsewhere"
        outside.mkdir()
        run_dir = agent.bench.path / "outputs/fox/default"
        (run_dir / "rejects.txt").symlink_to(outside / "rejects.txt")
        refused = await agent("reject", run_dir="outputs/fox/default", names=["fox"])
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")
        assert list(outside.iterdir()) == []


async def test_a_file_of_rejections_beside_a_manifest_outside_of_the_root_is_not_written(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(100) as agent:
        fox = agent.bench.path / agent.write("fox", "{name: fox, prompt: a fox}")
        fox.write_text(f"{fox.read_text()}rejects: rejects.txt\n")
        root = agent.bench.path / "root"
        run_dir = root / "outputs/fox/default"
        ran = await run(fox, budget=10, out_dir=run_dir, settings=agent.bench.settings)
        assert ran.ok
        monkeypatch.chdir(root)
        box = tools.ToolBox(tools.Root(root), agent.bench.settings, None)
        given = tools.RejectArguments(run_dir="outputs/fox/default", names=["fox"])
        envelope = await box.reject(given, _no_progress)
        assert isinstance(envelope, dict)
        assert envelope["exit_code"] == 2
        assert "the file of rejections" in str(envelope["error"])
        assert not (agent.bench.path / "rejects.txt").exists()


async def _no_progress(_done: float, _total: float | None, _message: str | None) -> None:
    return

"""The tools of the MCP server, called by the SDK's own client; the sandbox's ledger judges."""

from __future__ import annotations

import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from crucible_batch import plan
from crucible_batch.cli import redaction
from crucible_batch.errors import JournalError, ReportError
from crucible_batch.features.agents.mcp_server.instructions import EXAMPLE
from crucible_batch.features.agents.mcp_server.tools import LONGEST_TEXT
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.runs import running
from tests.features.agents.client import HEAD, Connect, code
from tests.harness.features import has_feature


async def test_run_is_only_offered_by_a_server_that_may_spend(connect: Connect) -> None:
    async with connect() as agent:
        listed = (await agent.client.list_tools()).tools
        assert {"validate", "plan", "status", "report", "explain"} < {tool.name for tool in listed}
        assert "run" not in {tool.name for tool in listed}
        # What has `reject`, which writes a file, is tested in with_redo.
        assert all(
            tool.annotations is not None and tool.annotations.read_only_hint
            for tool in listed
            if tool.name != "reject"
        )
        refused = await agent(
            "run", manifest=agent.write("fox", "{name: fox, prompt: a fox}"), budget="2"
        )
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")
        assert "--allow-spend" in refused["error"]["hint"]
        assert await agent.billed() == 0


async def test_the_instructions_have_a_manifest_that_runs_and_the_root(connect: Connect) -> None:
    async with connect(20) as agent:
        told = agent.client.instructions
        assert f"below {agent.bench.path}" in told
        assert EXAMPLE in told
        (agent.bench.path / "animals.yaml").write_text(EXAMPLE)
        (agent.bench.path / "animals.txt").write_text("A wolf in a forest\nAn owl in the snow\n")
        checked = await agent("validate", manifest="animals.yaml")
        assert checked["ok"], checked["data"]
        done = await agent("run", manifest="animals.yaml")
        assert (done["ok"], done["data"]["counts"]["succeeded"]) == (True, 4)


async def test_the_instructions_of_a_server_that_can_not_buy_say_so(connect: Connect) -> None:
    async with connect() as agent:
        assert "--allow-spend" in agent.client.instructions
        assert "call run" not in agent.client.instructions
    async with connect(5) as agent:
        assert "--allow-spend" not in agent.client.instructions


async def test_status_without_a_directory_lists_the_runs(connect: Connect) -> None:
    async with connect(20) as agent:
        assert (await agent("status"))["data"]["runs"] == []
        for name in ("fox", "owl"):
            path = agent.write(name, f"{{name: {name}, prompt: a {name}}}")
            assert (await agent("run", manifest=path, budget="4"))["ok"]
        listed = (await agent("status"))["data"]["runs"]
        assert {run["run_dir"] for run in listed} == {"outputs/fox/default", "outputs/owl/default"}
        one = await agent("status", run_dir="outputs/owl/default")
        assert one["data"]["counts"]["succeeded"] == 1


async def test_runs_outside_of_the_root_are_not_listed(connect: Connect, tmp_path: Path) -> None:
    async with connect(20) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        assert (await agent("run", manifest=fox, budget="4"))["ok"]
        away = tmp_path.with_name(f"{tmp_path.name}-away")
        (agent.bench.path / "outputs/fox").rename(away)
        (agent.bench.path / "outputs/fox").symlink_to(away)
        assert (await agent("status"))["data"]["runs"] == []
        refused = await agent("status", run_dir=str(away))
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")


async def test_codes_are_listed_without_a_code(connect: Connect) -> None:
    async with connect() as agent:
        listed = (await agent("explain"))["data"]["codes"]
        assert "BUDGET_EXHAUSTED" in {each["code"] for each in listed}


async def test_an_estimate_of_unknown_prices_is_null(connect: Connect) -> None:
    async with connect() as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox}", budget="{credits: 20}")
        amounts = (await agent("plan", manifest=fox))["data"]["credits"]
        assert (amounts["estimate"], amounts["certainty"]) == (None, "unknown")


async def test_a_run_beyond_the_cap_is_refused_and_nothing_is_spent(connect: Connect) -> None:
    async with connect(5) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 3}")
        refused = await agent("run", manifest=fox, budget="6")
        assert (refused["exit_code"], code(refused)) == (4, "SPEND_LIMIT")
        assert not (agent.bench.path / "outputs").exists()
        assert await agent.billed() == 0
        ran = await agent("run", manifest=fox, budget="4")
        assert (ran["exit_code"], code(ran), ran["data"]["counts"]["succeeded"]) == (
            4,
            "BUDGET_EXHAUSTED",
            2,
        )
        assert ran["data"]["allow_spend"] == {
            "limit": "5",
            "spent": "4",
            "set_aside": "0",
            "left": "1",
        }
        # the budget counts all runs of the directory, the cap what this server spends
        refused = await agent("run", manifest=fox, budget="6")
        assert "at most 5, which includes the 4 spent" in refused["error"]["hint"]
        assert await agent.billed() == 4


async def test_a_run_without_a_budget_spends_nothing(connect: Connect) -> None:
    async with connect(5) as agent:
        refused = await agent("run", manifest=agent.write("fox", "{name: fox, prompt: a fox}"))
        assert (refused["exit_code"], code(refused)) == (2, "CONSENT_NEEDED")
        if has_feature("periods"):
            month = "{credits: 4, per: month, account: studio, max_credits_per_job: 2}"
            refused = await agent(
                "run", manifest=agent.write("owl", "{name: owl, prompt: an owl}", month)
            )
            assert (refused["exit_code"], code(refused)) == (2, "CONSENT_NEEDED")
        assert await agent.billed() == 0


async def test_two_runs_at_the_same_time_do_not_spend_more_than_the_cap(connect: Connect) -> None:
    async with connect(6) as agent:
        found: dict[str, dict[str, Any]] = {}

        async def run(name: str) -> None:
            manifest = agent.write(name, f"{{name: {name}, prompt: a {name}, repeat: 3}}")
            found[name] = await agent("run", manifest=manifest, budget="6")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "fox")
            tasks.start_soon(run, "owl")
        assert sorted(each["exit_code"] for each in found.values()) == [0, 4]
        assert {code(each) for each in found.values()} == {None, "SPEND_LIMIT"}
        assert await agent.billed() == 6


async def test_an_agent_has_no_option_that_forgets_a_refund(connect: Connect) -> None:
    async with connect(4, faults="generate.fail=1,refund-missing:1") as agent:
        (tool,) = [tool for tool in (await agent.client.list_tools()).tools if tool.name == "run"]
        assert "forget" not in json.dumps(tool.model_dump(mode="json"))
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        missing = await agent("run", manifest=fox, budget="2")
        assert (missing["exit_code"], code(missing)) == (4, "REFUND_MISSING")
        assert "--forget-refunds" not in json.dumps(missing["data"])
        assert missing["data"]["allow_spend"] == {
            "limit": "4",
            "spent": "0",
            "set_aside": "2",
            "left": "2",
        }
        assert await agent.billed() == 2


async def test_a_submit_without_an_answer_counts(connect: Connect) -> None:
    async with connect(4, faults="generate.drop-after:1") as agent:
        ran = await agent(
            "run", manifest=agent.write("fox", "{name: fox, prompt: a fox}"), budget="2"
        )
        assert (ran["exit_code"], ran["data"]["credits"]["held"]) == (5, "2")
        assert ran["data"]["allow_spend"] == {
            "limit": "4",
            "spent": "0",
            "set_aside": "2",
            "left": "2",
        }
        owl = agent.write("owl", "{name: owl, prompt: an owl, repeat: 2}")
        assert code(await agent("run", manifest=owl, budget="4")) == "SPEND_LIMIT"


async def test_what_was_spent_before_the_server_started_does_not_count(connect: Connect) -> None:
    async with connect(2) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 3}")
        await agent.bench.run(Path(fox), budget=4, out_dir=None)
        assert await agent.billed() == 4
        assert code(await agent("run", manifest=fox, budget="6.1")) == "SPEND_LIMIT"
        ran = await agent("run", manifest=fox, budget="6")
        assert ran["ok"]
        assert ran["data"]["allow_spend"]["spent"] == "2"
        assert await agent.billed() == 6


async def test_a_deleted_run_directory_gives_nothing_back(connect: Connect) -> None:
    async with connect(4) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 2}")
        assert (await agent("run", manifest=fox, budget="4"))["ok"]
        shutil.rmtree(agent.bench.path / "outputs")
        owl = agent.write("owl", "{name: owl, prompt: an owl}")
        for manifest in (fox, owl):
            refused = await agent("run", manifest=manifest, budget="2")
            assert code(refused) == "SPEND_LIMIT"
        assert await agent.billed() == 4


async def test_a_run_that_ends_with_an_error_counts_what_it_spent(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise ReportError("the report can't be written: no space left")

    monkeypatch.setattr(running, "write_report_of", fail)
    async with connect(10) as agent:
        failed = await agent(
            "run", manifest=agent.write("fox", "{name: fox, prompt: a fox, repeat: 2}"), budget="8"
        )
        assert (failed["exit_code"], code(failed)) == (5, "REPORT")
        assert failed["data"]["allow_spend"] == {
            "limit": "10",
            "spent": "4",
            "set_aside": "0",
            "left": "6",
        }
        assert await agent.billed() == 4


async def test_a_run_whose_journal_can_not_be_read_again_keeps_all_that_it_set_aside(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = SpendCap.settle

    def fail(*_args: object) -> None:
        raise JournalError("the journal can't be read")

    monkeypatch.setattr(SpendCap, "settle", fail)
    async with connect(10) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 2}")
        ran = await agent("run", manifest=fox, budget="8")
        assert ran["ok"]
        assert ran["data"]["allow_spend"] == {
            "limit": "10",
            "spent": "0",
            "set_aside": "8",
            "left": "2",
        }
        monkeypatch.setattr(SpendCap, "settle", settle)
        ran = await agent("run", manifest=fox, budget="8")
        assert ran["data"]["allow_spend"]["spent"] == "4"


async def test_a_cancelled_run_collects_its_jobs_and_buys_no_more(connect: Connect) -> None:
    async with connect(100, runners=1) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 20}")
        with anyio.CancelScope() as scope:

            async def cancel_at_the_first(
                done: float, _total: float | None, _message: str | None
            ) -> None:
                if done >= 1:
                    scope.cancel()

            arguments = {"manifest": fox, "budget": "40", "concurrency": 2}
            await agent.client.call_tool("run", arguments, progress_callback=cancel_at_the_first)
        assert scope.cancelled_caught
        while agent.tools.runs:
            await anyio.sleep(0.01)
        status = (await agent("status", run_dir="outputs/fox/default"))["data"]
        counts = status["counts"]
        assert status["status"] == "interrupted"
        assert (status["credits"]["held"], counts["unknown"]) == ("0", 0)
        assert 1 <= counts["succeeded"] < 20
        assert await agent.billed() == 2 * counts["succeeded"]
        assert agent.tools.cap is not None
        assert (agent.tools.cap.allowance.spent, agent.tools.cap.allowance.set_aside) == (
            2 * counts["succeeded"],
            0,
        )


async def test_progress_is_reported(connect: Connect) -> None:
    async with connect(6) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 3}")
        assert (await agent("run", manifest=fox, budget="6"))["ok"]
        assert agent.progress
        assert all(total == 3 for _, total in agent.progress)
        assert [done for done, _ in agent.progress] == sorted(done for done, _ in agent.progress)


async def test_paths_outside_of_the_root_are_refused(connect: Connect, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "m.yaml").write_text(f"{HEAD}name: m\njobs: [{{name: a, prompt: a}}]\n")
    (tmp_path / "link.yaml").symlink_to(outside / "m.yaml")
    (tmp_path / "folder").symlink_to(outside)
    async with connect(6) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        for path in (
            "../m.yaml",
            "/etc/passwd",
            "link.yaml",
            "folder/m.yaml",
            "s3://bucket/m",
            "s3:/b",
            "./s3:/bucket/m",
            f"./file:{outside}",
            "x/../file:/etc",
            "a\0b",
        ):
            for tool, arguments in (
                ("validate", {"manifest": path}),
                ("plan", {"manifest": path}),
                ("run", {"manifest": path, "budget": "2"}),
                ("plan", {"manifest": fox, "run_dir": path}),
                ("run", {"manifest": fox, "budget": "2", "run_dir": path}),
                ("status", {"run_dir": path}),
                ("report", {"run_dir": path}),
            ):
                refused = await agent(tool, **arguments)
                assert (refused["exit_code"], code(refused)) == (2, "USAGE"), (tool, path)
        assert await agent.billed() == 0
    assert sorted(each.name for each in outside.iterdir()) == ["m.yaml"]


async def test_a_default_run_directory_behind_a_link_is_refused(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect(6) as agent:
        outside = tmp_path.parent / f"{tmp_path.name}-outside"
        outside.mkdir()
        (tmp_path / "outputs").symlink_to(outside)
        fox = agent.write("fox", "{name: fox, prompt: a fox}")
        assert code(await agent("plan", manifest=fox)) == "USAGE"
        assert code(await agent("run", manifest=fox, budget="2")) == "USAGE"
        assert list(outside.iterdir()) == []


async def test_a_saved_plan_is_refused_since_it_names_its_own_paths(connect: Connect) -> None:
    async with connect(6) as agent:
        fox = agent.write(
            "fox", "{name: fox, prompt: a fox}", "{credits: 2, max_credits_per_job: 2}"
        )
        await plan(fox, save_to="plan.json", settings=agent.bench.settings)
        refused = await agent("run", manifest="plan.json", budget="2")
        assert (refused["exit_code"], code(refused)) == (2, "USAGE")
        assert "saved plan" in refused["error"]["message"]


MOST_BYTES_OF_A_JOB = 120


async def test_a_report_comes_in_pages_of_short_rows(connect: Connect) -> None:
    async with connect(20) as agent:
        fox = agent.write("fox", f"{{name: fox, prompt: 'a fox {'in the snow ' * 30}', repeat: 5}}")
        assert (await agent("run", manifest=fox, budget="10"))["ok"]
        whole = json.loads((agent.bench.path / "outputs/fox/default/report.json").read_text())[
            "jobs"
        ]
        names, offset, pages = [], 0, 0
        while offset is not None:
            data = (await agent("report", run_dir="outputs/fox/default", offset=offset, limit=2))[
                "data"
            ]
            for job in data["jobs"]:
                (output,) = whole[len(names)]["outputs"]
                row = json.dumps(job, separators=(",", ":"))
                assert output["path"] in row
                assert len(row) <= MOST_BYTES_OF_A_JOB
                assert (job["status"], Decimal(job["credits"])) == ("succeeded", 2)
                names.append(job["name"])
            offset, pages = data["next_offset"], pages + 1
        assert (names, pages) == ([f"fox-{number}" for number in range(1, 6)], 3)
        data = (await agent("report", run_dir="outputs/fox/default", status="failed"))["data"]
        assert (data["jobs"], data["next_offset"]) == ([], None)


async def test_texts_have_no_control_characters_and_no_secrets_and_are_cut(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_hidden_key", "moltazine_sandbox")
    async with connect(20) as agent:
        prompt = f"a fox \\e[31m red \\u202e {agent.bench.settings.api_key} {'x' * 5000}"
        fox = agent.write("fox", f'{{name: fox, prompt: "{prompt}"}}')
        assert (await agent("run", manifest=fox, budget="2"))["ok"]
        (job,) = (await agent("report", run_dir="outputs/fox/default", details=True))["data"][
            "jobs"
        ]
        assert job["prompt"].startswith("a fox [31m red  ***")
        assert len(job["prompt"]) == LONGEST_TEXT


WRONG: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plan", {}),
    ("plan", {"manifest": 3}),
    ("plan", {"manifest": "m.yaml", "bugdet": "3"}),
    ("run", {"manifest": "m.yaml", "budget": "-3"}),
    ("run", {"manifest": "m.yaml", "budget": -3}),
    ("run", {"manifest": "m.yaml", "budget": True}),
    ("run", {"manifest": "m.yaml", "budget": [3]}),
    ("run", {"manifest": "m.yaml", "budget": "three"}),
    ("run", {"manifest": "m.yaml", "budget": "NaN"}),
    ("run", {"manifest": "m.yaml", "budget": "3.0000000000000000001"}),
    ("run", {"manifest": "m.yaml", "budget": "3", "yes": True}),
    ("run", {"manifest": "m.yaml", "budget": "3", "resubmit_unknown": True}),
    ("report", {"run_dir": "outputs", "limit": 10_000}),
    ("explain", {"code": "NO_SUCH_CODE"}),
    ("validate", {"manifest": "missing.yaml"}),
    ("status", {"run_dir": "missing"}),
)


async def test_wrong_arguments_are_an_envelope_with_exit_code_2(connect: Connect) -> None:
    async with connect(6) as agent:
        agent.write("m", "{name: fox, prompt: a fox}")
        for tool, arguments in WRONG:
            refused = await agent(tool, **arguments)
            assert (refused["exit_code"], refused["command"]) == (2, tool), arguments
            assert refused["error"]["message"]
        assert await agent.billed() == 0


# What proposes another budget: "raise the budget", "a higher budget", "--budget 20".
MORE_BUDGET = re.compile(
    r"\b(rais|increas|higher|larger|bigger)\w*\b[^.]*\bbudget"
    r"|\bbudget\b[^.]*\b(rais|increas|higher|larger)"
    r"|--budget",
    re.IGNORECASE,
)


def told_without_asking(envelope: dict[str, Any]) -> list[str]:
    """The texts for the agent that propose a higher budget, and not to ask the user for it."""
    error, data = envelope["error"] or {}, envelope["data"] or {}
    texts = [error.get("message"), error.get("hint"), data.get("what_to_do"), data.get("meaning")]
    return [
        text
        for text in texts
        if text and MORE_BUDGET.search(text) and not re.search(r"\bask", text, re.I)
    ]


async def test_no_explanation_tells_an_agent_to_raise_the_budget_by_itself(
    connect: Connect,
) -> None:
    from crucible_batch.error_codes import CODES

    async with connect() as agent:
        told = []
        for each in CODES:
            told += told_without_asking(
                await agent("explain", code=each.name.replace("<status>", "500"))
            )
        assert told == []
        exhausted = await agent("explain", code="BUDGET_EXHAUSTED")
        assert re.search(r"\bask\b.*\buser\b", exhausted["data"]["what_to_do"], re.IGNORECASE)


async def test_no_ending_tells_an_agent_to_raise_the_budget_by_itself(connect: Connect) -> None:
    async with connect(9) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 3}")
        stopped = await agent("run", manifest=fox, budget="4")
        assert code(stopped) == "BUDGET_EXHAUSTED"
        assert told_without_asking(stopped) == []
        refused = await agent("run", manifest=fox)
        assert code(refused) == "CONSENT_NEEDED"
        assert told_without_asking(refused) == []
        refused = await agent("run", manifest=fox, budget="40")
        assert code(refused) == "SPEND_LIMIT"
        assert told_without_asking(refused) == []


async def test_a_budget_may_be_a_number(connect: Connect) -> None:
    async with connect(10) as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 4}")
        for given, meant in ((4, "4"), (0.1, "0.1"), (4.5, "4.5"), ("4", "4"), (1e2, "100")):
            planned = await agent("plan", manifest=fox, budget=given)
            assert planned["ok"], (given, planned["error"])
            assert planned["data"]["credits"]["budget"] == meant
        ran = await agent("run", manifest=fox, budget=4)
        assert (code(ran), ran["data"]["counts"]["succeeded"]) == ("BUDGET_EXHAUSTED", 2)
        assert ran["data"]["allow_spend"]["spent"] == "4"
        assert await agent.billed() == 4


async def test_a_short_report_still_says_why_a_job_failed(connect: Connect) -> None:
    async with connect(20, faults="generate.fail:1") as agent:
        fox = agent.write("fox", "{name: fox, prompt: a fox, repeat: 2}")
        assert (await agent("run", manifest=fox, budget="4"))["exit_code"] == 1
        full = json.loads((agent.bench.path / "outputs/fox/default/report.json").read_text())[
            "jobs"
        ]
        jobs = (await agent("report", run_dir="outputs/fox/default", status="failed"))["data"][
            "jobs"
        ]
        assert [job["status"] for job in jobs] == ["failed", "failed"]
        for job, whole in zip(jobs, full, strict=True):
            assert whole["error"]["code"] in json.dumps(job)


async def test_a_tool_lists_the_workflows_and_spends_nothing(connect: Connect) -> None:
    async with connect() as agent:
        (tool,) = [
            tool for tool in (await agent.client.list_tools()).tools if "workflow" in tool.name
        ]
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert not tool.input_schema.get("required")
        listed = await agent(tool.name)
        assert (listed["ok"], listed["exit_code"]) == (True, 0)
        text = json.dumps(listed["data"])
        assert all(f'"{name}"' in text for name in ("zimage-base", "qwen-edit"))
        assert agent.bench.settings.api_key not in text
        assert len(text) < 8000
        assert await agent.billed() == 0

"""The server, with a real MCP client over stdin and stdout; the judge is the gateway's ledger."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from crucible_batch.errors import UserError
from crucible_batch.features.agents.mcp_server import serve_agents
from crucible_batch.settings import Settings
from crucible_batch.shell_command import install_hint
from tests.harness.commands import Cli
from tests.harness.forked_commands import Process, forking_script
from tests.harness.sandbox_audit import with_audit

FOX = "version: 1\nname: mcp-fox\nworkflow: zimage-base\nbudget: {max_credits_per_job: 2}\njobs:\n"
FOX += "  - {name: fox, prompt: A fox, repeat: 3}\n"


def billed(cli: Cli) -> Decimal:
    with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
        audit = with_audit(json.load(answer, parse_float=Decimal))["audit"]
    assert audit["problems"] == []
    return Decimal(audit["spent_on_jobs"]) + audit["spent_on_uploads"] + audit["reserved"]


def connected(cli: Cli, *options: str) -> AbstractAsyncContextManager[Any]:
    """Start a server, and connect a client to it."""
    from mcp import (
        Client,
        StdioServerParameters,
        stdio_client,
    )  # each worker imports this module: this takes 0.4 s

    command = forking_script(cli.cwd)
    server = StdioServerParameters(
        command=command, args=["agent", "mcp", *options], env=cli.environment, cwd=cli.cwd
    )
    return Client(stdio_client(server))


async def call(client: Any, tool: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    envelope: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
    assert set(envelope) == {"type", "at", "ok", "command", "exit_code", "data", "error"}
    assert (envelope["type"], envelope["command"], result.is_error) == (
        "result",
        tool,
        not envelope["ok"],
    )
    return envelope


async def test_a_client_plans_runs_within_its_allowance_and_is_refused_beyond_it(cli: Cli) -> None:
    (cli.cwd / "work").mkdir()
    (cli.cwd / "work" / "fox.yaml").write_text(FOX)
    before = billed(cli)
    async with connected(cli, "--root", "work", "--allow-spend", "5") as client:
        assert "run" in {tool.name for tool in (await client.list_tools()).tools}
        assert (await call(client, "validate", manifest="fox.yaml"))["data"]["manifests"][0][
            "jobs"
        ] == 3
        planned = (await call(client, "plan", manifest="fox.yaml"))["data"]
        assert (planned["total"], planned["credits"]["at_most"]) == (3, "6")
        refused = await call(
            client, "run", manifest="fox.yaml", budget=planned["credits"]["at_most"]
        )
        assert (refused["exit_code"], refused["error"]["code"]) == (4, "SPEND_LIMIT")
        assert billed(cli) == before
        ran = await call(client, "run", manifest="fox.yaml", budget="4")
        assert (ran["exit_code"], ran["data"]["counts"]["succeeded"]) == (4, 2)
        assert billed(cli) == before + 4
        refused = await call(client, "run", manifest="fox.yaml", budget="6")
        assert refused["error"]["code"] == "SPEND_LIMIT"
        assert (await call(client, "status", run_dir="outputs/mcp-fox/default"))["data"][
            "status"
        ] == "blocked"
        rows = (
            await call(client, "report", run_dir="outputs/mcp-fox/default", status="succeeded")
        )["data"]["jobs"]
        files = [
            cli.cwd / "work/outputs/mcp-fox/default" / row["outputs"][0]["path"] for row in rows
        ]
        assert all(file.is_file() for file in files)
        assert (await call(client, "explain", code="SPEND_LIMIT"))["data"]["exit_codes"] == [4]
        outside = await call(client, "plan", manifest="../other.yaml")
        assert outside["error"]["code"] == "USAGE"
    assert billed(cli) == before + 4


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def start(cli: Cli) -> Process:
    """Start a server, and wait until it answers."""
    process = cli.start("agent", "mcp", stdin=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("this is not JSON\n" + json.dumps(INITIALIZE) + "\n")
    process.stdin.flush()
    while "result" not in (answer := json.loads(process.stdout.readline())):
        pass
    assert answer["result"]["serverInfo"]["name"] == "crucible-batch"
    return process


def test_the_server_ends_when_its_client_leaves_and_prints_only_the_protocol(
    lonely_cli: Cli,
) -> None:
    process = start(lonely_cli)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_although_stdin_is_open(
    lonely_cli: Cli, number: signal.Signals
) -> None:
    process = start(lonely_cli)
    process.send_signal(number)
    assert process.wait(timeout=240) == 0
    process.communicate()


def test_a_root_that_is_not_a_directory_is_refused(lonely_cli: Cli) -> None:
    done = lonely_cli("agent", "mcp", "--root", "missing")
    assert (done.code, done.out) == (2, "")
    assert "--root missing can't be used: No such file or directory" in done.err


def test_without_the_extra_the_command_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith("crucible_batch.features.agents.mcp_server")
    ]:
        monkeypatch.delitem(sys.modules, name)
    for name in {name for name in sys.modules if name.partition(".")[0] == "mcp"} | {"mcp"}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="extra mcp, which isn't installed") as refused:
        serve_agents(Path(), None, Settings(api_key=None))
    assert refused.value.hint == install_hint("mcp")

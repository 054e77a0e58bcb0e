"""A client of the server for agents, on a bench: the SDK's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.features.agents.mcp_server.confinement import Root
from crucible_batch.features.agents.mcp_server.tools import ToolBox
from crucible_batch.features.agents.spend_cap import SpendCap

HEAD = "version: 1\nworkflow: zimage-base\nparams: {size.width: 64, size.height: 64}\n"


@dataclass
class Agent:
    """A client of a server on a bench."""

    client: Any
    bench: Any
    tools: ToolBox
    progress: list[tuple[float, float | None]] = field(default_factory=list)

    async def __call__(self, tool: str, **arguments: object) -> dict[str, Any]:
        async def note(done: float, total: float | None, _message: str | None) -> None:
            self.progress.append((done, total))

        result = await self.client.call_tool(tool, arguments, progress_callback=note)
        (content,) = result.content
        envelope: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
        assert result.is_error is not envelope["ok"]
        return envelope

    def write(self, name: str, jobs: str, budget: str = "{max_credits_per_job: 2}") -> str:
        path = self.bench.path / f"{name}.yaml"
        path.write_text(f"{HEAD}name: {name}\nbudget: {budget}\njobs:\n  - {jobs}\n")
        return path.name

    async def billed(self) -> Decimal:
        """What the gateway has charged, less refunds, and what is reserved for jobs in flight."""
        audit = (await self.bench.state())["audit"]
        return audit["spent_on_jobs"] + audit["spent_on_uploads"] + audit["reserved"]


Connect = Callable[..., AbstractAsyncContextManager[Agent]]


@pytest.fixture
def connect(start: Any, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Connect to a server with an ``allow_spend``; other keywords are those of the bench."""
    from mcp import Client  # not at the top: each worker imports this module, and that takes 0.4 s

    from crucible_batch.features.agents.mcp_server.server import make_server

    @asynccontextmanager
    async def connected(allow_spend: object = None, **config: object) -> AsyncIterator[Agent]:
        async with start(**config) as bench:
            monkeypatch.chdir(bench.path)
            cap = None if allow_spend is None else SpendCap(Decimal(str(allow_spend)))
            tools = ToolBox(Root(bench.path), bench.settings, cap)
            async with Client(make_server(tools), mode="legacy") as client:
                yield Agent(client, bench, tools)

    return connected


def code(envelope: dict[str, Any]) -> str | None:
    return None if envelope["error"] is None else envelope["error"]["code"]

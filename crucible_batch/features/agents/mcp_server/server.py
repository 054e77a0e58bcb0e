"""The server of the Model Context Protocol: its tools and their calls, on stdin and stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from crucible_batch import __version__
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json
from crucible_batch.errors import ExitCode
from crucible_batch.features.agents.mcp_server.instructions import instructions
from crucible_batch.features.agents.mcp_server.tools import (
    ToolBox,
    ToolEntry,
    safe_envelope,
    tool_entries,
)


def make_server(tools: ToolBox) -> Server[Any]:
    entries = tool_entries(tools)
    listed = ListToolsResult(tools=[_listed(name, entry) for name, entry in entries.items()])

    async def list_tools(_context: Any, _params: Any) -> ListToolsResult:
        return listed

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        entry = entries.get(params.name)
        if entry is None:
            return _result(_unknown_tool(params.name, entries))
        try:
            arguments = entry.arguments.model_validate(params.arguments or {})
        except ValidationError as error:
            return _result(
                _refusal(
                    params.name, _faults(error), "the tool's input schema describes its arguments"
                )
            )
        return _result(await entry.call(arguments, context.session.report_progress))

    return Server(
        "crucible-batch",
        version=__version__,
        instructions=instructions(tools),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _listed(name: str, entry: ToolEntry) -> Tool:
    annotations = ToolAnnotations(
        read_only_hint=not entry.writes,
        destructive_hint=False,
        idempotent_hint=True,
        open_world_hint=entry.spends,
    )
    schema = entry.arguments.model_json_schema()
    return Tool(
        name=name, description=entry.description, input_schema=schema, annotations=annotations
    )


def _unknown_tool(name: str, entries: Mapping[str, ToolEntry]) -> Json:
    hint = f"one of: {', '.join(entries)}"
    if name == "run":
        hint = (
            "the server can't buy: the user has to start it with --allow-spend CREDITS;"
            f" without it, {hint}"
        )
    return _refusal("mcp", f"there is no tool named {name!r}", hint)


def _refusal(command: str, message: str, hint: str) -> Json:
    output = CommandOutput(command)
    output.blame("USAGE", message, hint, exit_code=ExitCode.USER_ERROR)
    return safe_envelope(output)


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
        for each in error.errors(include_url=False)
    )


def _result(envelope: Json) -> CallToolResult:
    text = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    is_ok = isinstance(envelope, Mapping) and envelope["ok"] is True
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=not is_ok)


async def serve(tools: ToolBox) -> None:
    """Serve one client on stdin and stdout, until it closes stdin or a signal arrives.

    Runs are then stopped as by Ctrl-C, and awaited; a signal during that leaves their jobs in
    flight to the next run. While it serves, stdout belongs to the protocol: what else is printed
    goes to stderr.
    """
    server = make_server(tools)
    with anyio.CancelScope() as scope:

        def stop() -> None:
            for run in list(tools.runs):
                run.stop()
            scope.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop)
        try:
            async with stdio_server(stdin=cast("anyio.AsyncFile[str]", _Lines(loop))) as (
                read,
                write,
            ):
                await server.run(read, write, server.create_initialization_options())
        except* OSError:  # the client closed stdout as well
            pass


class _Lines:
    """The lines of stdin, read by a thread that nothing waits for.

    A blocked read can't be cancelled.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=16)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        line = await self._queue.get()
        if line is None:
            raise StopAsyncIteration
        return line.decode(errors="replace")

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError, RuntimeError):  # the event loop is closed
            chunk = os.read(0, 65_536)
            while chunk:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._put(line)
                chunk = os.read(0, 65_536)
            self._put(None)

    def _put(self, line: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(self._queue.put(line), self._loop).result()

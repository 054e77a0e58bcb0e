"""The commands for agents: ``agent skill``, ``agent mcp``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.help_text import PlainGroup

commands = typer.Typer(name="agent", cls=PlainGroup, no_args_is_help=True)
command = partial(opt.command, commands, "Agents")


@commands.callback(rich_help_panel="Automate")
def _about() -> None:
    """Connect agents: a guide to read, and an MCP server."""


@command("crucible-batch agent skill > SKILL.md", output="verbose", name="agent skill")
def skill(_output: CommandOutput, context: typer.Context) -> None:
    """Print a guide for agents: the safe order of commands, results, what not to do.

    It is a SKILL.md in Markdown, to be saved where the agent reads its skills.
    """
    from crucible_batch.features.agents.skill import skill_text

    sys.stdout.write(skill_text(context.find_root().command))


@command(
    "crucible-batch agent mcp --root my-batch",
    "crucible-batch agent mcp --root my-batch --allow-spend 50",
    output="verbose",
    name="agent mcp",
)
def mcp(
    _output: CommandOutput,
    *,
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Directory of the manifests and runs; nothing else is used.",
        ),
    ] = Path(),
    allow_spend: Annotated[
        Decimal | None,
        opt.credits_option(
            "--allow-spend",
            help="Offer the tool run; all runs together may spend N credits.  \\[default: no runs]",
        ),
    ] = None,
    gateway: opt.GatewayOptions,
) -> None:
    """Serve an MCP client on stdin and stdout: plan, run, report, reject.

    Requires the extra mcp. The API key and the gateway are those of the
    environment at the start.
    """
    from crucible_batch.features.agents.mcp_server import serve_agents

    serve_agents(root, allow_spend, gateway.settings())

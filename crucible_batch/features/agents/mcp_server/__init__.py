"""The MCP server: tools for agents, confined to a directory, with a cap on all that they may spend.

``serve_agents`` starts it; the other modules need the extra mcp.
"""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path

from crucible_batch.cli.redaction import hide_key
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.settings import Settings
from crucible_batch.shell_command import install_hint


def serve_agents(root: Path, allow_spend: Decimal | None, settings: Settings) -> None:
    """Serve one client until it leaves.

    Raises ``UserError`` for a root that is not a directory, or without the extra. The root becomes
    the working directory. The settings were read before, so no file in it can change them.
    """
    try:
        # Imported here, since the MCP SDK is an extra.
        from crucible_batch.features.agents.mcp_server.confinement import Root  # noqa: PLC0415
        from crucible_batch.features.agents.mcp_server.server import serve  # noqa: PLC0415
        from crucible_batch.features.agents.mcp_server.tools import ToolBox  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"mcp", "anyio"}:
            raise
        raise UserError(
            "agent mcp needs the extra mcp, which isn't installed",
            hint=install_hint("mcp"),
        ) from None
    try:
        os.chdir(root)
    except OSError as error:
        raise UserError(
            f"--root {clean_path(root)} can't be used: {error.strerror}",
            hint="give a directory that exists",
        ) from error
    hide_key(settings.api_key)
    cap = None if allow_spend is None else SpendCap(allow_spend)
    asyncio.run(serve(ToolBox(Root(Path()), settings, cap)))

"""The options for the notifications of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

_notify = partial(typer.Option, rich_help_panel="Notifications")

AllowCommand = Annotated[
    bool,
    _notify(
        "--allow-command",
        envvar="CRUCIBLE_BATCH_ALLOW_COMMANDS",
        help="Run the commands in the manifest's notify. Only if you trust the manifest.",
    ),
]


@dataclass(frozen=True, slots=True)
class NotifyOptions:
    """The options for whether notifications are sent, and whether commands are run for them."""

    no_notify: Annotated[bool, _notify("--no-notify", help="Do not send the notifications of the manifest.")] = False
    allow_command: AllowCommand = False

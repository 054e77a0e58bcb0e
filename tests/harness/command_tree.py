"""The commands of the command line, those of groups under their full names: ``schedule list``."""

from __future__ import annotations

from typing import Any


def all_commands(group: Any) -> dict[str, Any]:
    """Return the commands of a group by their words, without the groups themselves."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        below = all_commands(command) if hasattr(command, "commands") else {"": command}
        found |= {f"{name} {words}".strip(): each for words, each in below.items()}
    return found

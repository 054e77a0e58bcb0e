"""``agent skill``: a guide for agents.

Its lists are made from the program, so that they are always complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from crucible_batch import __version__
from crucible_batch.errors import ExitCode

_TO_DO = {
    ExitCode.OK: "Report the result.",
    ExitCode.SOME_FAILED: (
        "Read the `error` of each failed job; ask before `--retry-failed`, which buys them again."
    ),
    ExitCode.USER_ERROR: "Correct what the error names; the same command would fail again.",
    ExitCode.KEY_REFUSED: "Ask the user to set the key.",
    ExitCode.OUT_OF_CREDITS: (
        "Report it to the user. Run again with the budget that they give, or with more credits."
    ),
    ExitCode.STOPPED: "Run the same command again, later if the gateway is down.",
    ExitCode.BUSY: "Wait for the other run; `status` shows it.",
    ExitCode.DIFFERENCE: (
        "`check --fix` restores outputs. Ask the user about differences from the ledger."
    ),
    ExitCode.SIGINT: "Run the same command again when the user wants to continue.",
    ExitCode.SIGTERM: "Run the same command again when the user wants to continue.",
}


def skill_text(program: Any) -> str:
    """Return the guide. ``program`` is the command of which all others are subcommands."""
    text = files("crucible_batch.cli").joinpath("templates/skill.md").read_text(encoding="utf-8")
    for name, value in (
        ("version", __version__),
        (
            "exit_codes",
            "\n".join(f"| {int(code)} | {code.meaning} | {_TO_DO[code]} |" for code in ExitCode),
        ),
        ("commands", "\n".join(f"- `{name}`: {summary}" for name, summary in _commands(program))),
    ):
        text = text.replace(f"{{{name}}}", value)
    return text


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of each command, and the first sentence of its help."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, f"{before}{name} ")
        else:
            yield f"{before}{name}", " ".join(found.help.split("\n\n")[0].split())

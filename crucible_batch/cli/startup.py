"""What a start leaves out: the parameters of commands that nobody asked for, and what Typer loads and we never use.

Together two fifths of the time of ``--help``, and 15 ms of every command: `python -m benchmarks.startup` has the
figures of a whole start.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

import typer
from typer.models import CommandInfo

_HELP = {"--help", "-h"}
_UNUSED = (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback"))
"""Help is in Rich's markup and tracebacks are Python's own; the parser and the lexers behind these take 50 ms."""


def sparing(app: typer.Typer, words: Sequence[str], environ: Mapping[str, str]) -> typer.Typer:
    """Return an application that answers ``words`` as ``app`` does, with the parameters of their command alone."""
    if any(name.startswith("_") and name.endswith("_COMPLETE") for name in environ):
        return app  # the Tab key says elsewhere what was typed
    if not words or _HELP & set(words):
        _load_help()
    asked = next((word for word in words if not word.startswith("-")), None)
    lean = copy.copy(app)
    lean.registered_commands = [
        command if _name(command) == asked else _without_parameters(command) for command in app.registered_commands
    ]
    return lean


def _name(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def _without_parameters(command: CommandInfo) -> CommandInfo:
    """The command as a list of commands shows it."""

    def nothing() -> None: ...

    lean = copy.copy(command)
    lean.name = _name(command)
    lean.help = command.help or getattr(command.callback, "__doc__", None)
    lean.callback = nothing
    return lean


def _load_help() -> None:
    """Load what renders help, with nothing in place of what it has no use for."""
    missing = [(module, name) for module, name in _UNUSED if module not in sys.modules]
    for module, name in missing:
        stand_in = ModuleType(module)
        setattr(stand_in, name, type(name, (), {}))
        sys.modules[module] = stand_in
    try:
        import_module("typer.rich_utils")
    finally:
        for module, _ in missing:
            del sys.modules[module]

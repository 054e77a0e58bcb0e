"""The help of commands: examples, exit codes, and the types of values where they explain something."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from crucible_batch.errors import ExitCode

_WITHOUT_JOBS: Mapping[ExitCode, str] = {
    ExitCode.OK: "the command succeeded",
    ExitCode.USER_ERROR: "the command or its input is invalid",
    ExitCode.STOPPED: "the gateway or a file could not be used",
}
"""The meanings of exit codes of a command that runs no jobs."""


def epilog(*examples: str, codes: Collection[int] = ()) -> str:
    """Return the epilog of a command's help, in Rich markup."""
    title = "Example" if len(examples) == 1 else "Examples"
    paragraphs = ["\n".join([f"[bold]{title}[/bold]", *(f"  {escape(example)}" for example in examples)])]
    if codes:
        paragraphs.append(exit_code_table(codes))
    return "\n\n".join(paragraphs)


def exit_code_table(codes: Collection[int], *more: str) -> str:
    """Return the exit codes with their meanings, one per line. A command without code 1 runs no jobs."""
    own = {} if ExitCode.SOME_FAILED in codes else _WITHOUT_JOBS
    rows = [_row(ExitCode(code), own.get(ExitCode(code), ExitCode(code).meaning)) for code in codes]
    return "\n".join(["[bold]Exit codes[/bold]", *rows, *more])


def _row(code: ExitCode, meaning: str) -> str:
    """Wrap a row for 80 columns, since Rich would not indent the second line."""
    return textwrap.fill(meaning, 74, initial_indent=f"{code.value:>5}  ", subsequent_indent=" " * 7)


class PlainCommand(TyperCommand):
    """A command whose help leaves out the types that explain nothing, such as ``<bool>`` and ``<path>``."""

    def get_params(self, ctx: Any) -> list[Any]:
        return list(_without_plain_types(super().get_params(ctx), ctx))


class PlainGroup(TyperGroup):
    """As ``PlainCommand``, for the command without a subcommand."""

    def get_params(self, ctx: Any) -> list[Any]:
        return list(_without_plain_types(super().get_params(ctx), ctx))


def _without_plain_types(parameters: Iterable[Any], ctx: Any) -> Iterable[Any]:
    for parameter in parameters:
        shown = getattr(parameter, "display_type_rich", None)  # older releases of Typer show no such types
        if shown is not None and str(shown(ctx)).startswith(("<bool>", "<str>", "<list[", "<path>", "<int")):
            parameter.display_type_rich = lambda ctx: None
        yield parameter

"""What stands below a command's help: examples, and the exit codes that it can end with."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.markup import escape

from crucible_batch.errors import ExitCode


def epilog(*examples: str, codes: Iterable[int] = ()) -> str:
    """Return the text, in Rich's markup."""
    title = "Example" if len(examples) == 1 else "Examples"
    paragraphs = ["\n".join([f"[bold]{title}[/bold]", *(f"  {escape(example)}" for example in examples)])]
    if codes:
        paragraphs.append(exit_code_table(codes))
    return "\n\n".join(paragraphs)


def exit_code_table(codes: Iterable[int], *more: str) -> str:
    """Return exit codes with their meanings, one a line."""
    rows = [_row(ExitCode(code)) for code in codes]
    return "\n".join(["[bold]Exit codes[/bold]", *rows, *more])


def _row(code: ExitCode) -> str:
    """Wrap for the 80 columns of a terminal, since Rich would begin the second line at the edge."""
    return textwrap.fill(code.meaning, 74, initial_indent=f"{code.value:>5}  ", subsequent_indent=" " * 7)

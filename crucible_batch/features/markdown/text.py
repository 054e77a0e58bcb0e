"""GitHub-flavoured Markdown in which text of others is shown as it is.

Names, prompts and messages may be hostile, so all of them are in code spans. In these, GitHub makes
no HTML, link, image, mention or reference of anything; a backslash before each would not prevent a
mention or the link of an e-mail address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from crucible_batch.core.redaction import clean

_LONGEST = 300


def code(text: str, limit: int = _LONGEST) -> str:
    """Return text as a code span for a cell of a table, on one line of at most ``limit`` characters
    beside the marks.

    Empty text stays empty, as a code span can't be.
    """
    shown = clean(text, limit)
    if not shown:
        return ""
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    if longest:
        shown = f" {shown} "  # a backtick at either end would belong to the fence
    # Cells are separated before code spans are found.
    return f"{fence}{shown}{fence}".replace("|", r"\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown. A column whose heading begins with ``>`` is
    aligned to the right.
    """
    marks = ["--:" if name.startswith(">") else "---" for name in head]
    names = [name.removeprefix(">") for name in head]
    lines = [f"| {' | '.join(cells)} |" for cells in (names, marks, *rows)]
    return "\n".join(lines)


def document(parts: Iterable[str]) -> str:
    """Return the parts as paragraphs, without the empty ones."""
    return "\n\n".join(filter(None, parts)) + "\n"


def and_more(count: int, noun: str, where: str) -> str:
    """Return the line about rows that a table leaves out; empty if there are none."""
    if count <= 0:
        return ""
    plural = "" if count == 1 else "s"
    return f"… and {count:,} more {noun}{plural}: {where}"

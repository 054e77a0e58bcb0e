"""A page of the documentation, as its blocks: what stands between two fences, and what the page
calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# A line that is a name in backticks, maybe some words, and a colon: what follows is that file.
_NAMED = re.compile(r"`([^`]+)`[^`]*:")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    ``file`` is the name that the line above gives it; ``line`` is that of its first line.
    """

    language: str
    text: str
    line: int
    file: str | None


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's fenced blocks, but for those that are directives of the site's builder."""
    before, held, opened = "", [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            if opened is not None:
                held.append(line)
            elif line.strip():
                before = line
        elif opened is None:
            opened, held = (line.removeprefix("```").strip(), number + 1), []
        else:
            language, begins = opened
            named = _NAMED.fullmatch(before)
            if not language.startswith("{"):
                yield Block(language, "\n".join(held) + "\n", begins, named[1] if named else None)
            opened, before = None, ""


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )

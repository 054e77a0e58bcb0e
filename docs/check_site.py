"""Looks at a built site: whatever a browser would load by itself has to come from the site. Run by
``make docs``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?\s*(?:https?:)?//[^\s"')]+""", re.IGNORECASE)
# An <a> is followed by a click alone, and so is what a <link> of these kinds says.
_ONLY_SAID = {"canonical", "search", "index", "next", "prev", "author", "license"}


class _Loads(HTMLParser):
    """Collects what a page makes a browser load from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" or (tag == "link" and set((values.get("rel") or "").split()) <= _ONLY_SAID):
            return
        for name in ("src", "srcset", "href", "data", "poster"):
            value = values.get(name) or ""
            if _ELSEWHERE.match(value):
                self.found.append(f"<{tag} {name}={value!r}>")


def loads_from_elsewhere(site: Path) -> Iterator[str]:
    """Yield what the pages and styles of a site load from other hosts, each with its file."""
    for path in sorted(site.rglob("*.html")):
        page = _Loads()
        page.feed(path.read_text(encoding="utf-8"))
        yield from (f"{path}: {found}" for found in page.found)
    for path in sorted(site.rglob("*.css")):
        yield from (
            f"{path}: {found}" for found in _IN_STYLES.findall(path.read_text(encoding="utf-8"))
        )


def main(site: Path) -> int:
    """Print what was found, and return the exit code."""
    if not (site / "index.html").is_file():
        print(f"{site}: no site there", file=sys.stderr)  # noqa: T201 - a script
        return 1
    found = list(loads_from_elsewhere(site))
    for line in found:
        print(line, file=sys.stderr)  # noqa: T201 - a script
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

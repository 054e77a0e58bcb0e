"""A page in the reader's browser, where there is a screen for one."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

_GRID = Path(".crucible", "grid.html")
_LEADS_ON = """\
<!doctype html>
<meta charset="utf-8">
<title>crucible-batch</title>
<meta http-equiv="refresh" content="0; url=../{page}#view=compare">
<a href="../{page}#view=compare">The comparison grid</a>
"""


def has_screen(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether a browser would have a window: without one it might take over the terminal, or hang."""
    return platform in {"darwin", "win32"} or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_grid(page: Path) -> bool:
    """Open a run's page at its comparison grid. False where no browser took it.

    What opens files for a desktop (xdg-open among others) drops what stands behind ``#``; a page that leads there keeps
    it. It lies in the run's hidden folder and may be deleted.
    """
    leads_there = page.parent / _GRID
    try:
        leads_there.write_text(_LEADS_ON.format(page=page.name), encoding="utf-8")
    except OSError:
        return False
    return webbrowser.open(leads_there.absolute().as_uri())

"""The demo: a gateway of its own on this machine, a real manifest, and nothing to sign up for."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import webbrowser
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from crucible_batch.api import RunRequest
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.run_session import FinishedRun, run_showing, tell_ending
from crucible_batch.cli.terminal import say, tell
from crucible_batch.errors import UserError
from crucible_batch.sandbox import SandboxConfig, serve
from crucible_batch.settings import Settings

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


DEMO_DIR = Path("outputs/demo/default")


def run_demo(answer: CommandOutput, *, out_dir: Path | None, display: DisplayMode, open_page: bool | None) -> None:
    """Run the demo manifest on a new sandbox, into a directory that no earlier one has used.

    Its comparison grid is opened in a browser: unless ``open_page`` says, where a person looks on who has a screen.
    """
    manifest = demo_manifest()
    target = free_directory(out_dir or DEMO_DIR)
    if not answer.quiet:
        tell(answer.err, ("Thirty images by a gateway on this machine; nothing leaves it.", "quiet"))
    request = RunRequest(manifest, out_dir=target)
    ran = asyncio.run(_run_on_sandbox(answer, request, display))
    tell_ending(answer, ran, request.job_filter, command=None)
    if not answer.quiet:
        say(answer.out, ("  manifest ", "label"), str(manifest))
        say(answer.out, ("  next     ", "label"), ("crucible-batch init my-batch", "command"))
    if open_page if open_page is not None else _is_watched(answer) and has_screen():
        _open(answer, ran.result.page)


def _is_watched(answer: CommandOutput) -> bool:
    return answer.out.is_terminal and not answer.json and not answer.quiet


def _open(answer: CommandOutput, page: Path | None) -> None:
    if page is None:
        return
    if open_grid(page):
        tell(answer.err, ("Its comparison grid opens in your browser.", "quiet"))
    else:
        say(answer.err, ("note  ", "label"), "no browser could be opened here: open the page by hand")


async def _run_on_sandbox(answer: CommandOutput, request: RunRequest, display: DisplayMode) -> FinishedRun:
    async with serve(SandboxConfig(runners=6)) as gateway:
        settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url, key_source="the sandbox")
        return await run_showing(answer, request, settings, display)


def demo_manifest() -> Path:
    """Find the demo's manifest: in the installed package, else in the checkout. Raises ``UserError``."""
    package = Path(str(files("crucible_batch")))
    for folder in (package / "manifests", package.parent / "manifests"):
        if (folder / "demo.yaml").is_file():
            return folder / "demo.yaml"
    raise UserError("the demo's manifest is not there", hint="install crucible-batch anew")


def free_directory(wanted: Path) -> Path:
    """Return ``wanted``, or with ``-2``, ``-3`` ... behind it the first that isn't there.

    Each demo has a gateway of its own that knows nothing of the ones before, so it can't go on in their directories.
    """
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([wanted], numbered) if not path.exists())

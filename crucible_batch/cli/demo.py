"""The demo: runs a manifest on a local sandbox gateway, without an account."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import webbrowser
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.ending import FinishedRun, show_run_ending
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.run_session import run_showing
from crucible_batch.cli.terminal import fact, say_note, say_sentence
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.errors import UserError
from crucible_batch.report import ReportHead
from crucible_batch.runs.connecting import connect
from crucible_batch.runs.paths import relative_to_here
from crucible_batch.runs.request import RunRequest
from crucible_batch.sandbox import SandboxConfig, serve
from crucible_batch.settings import Settings

_ENTRIES = 1000
"""Of the ledger: more than the demo has."""
_GRID = Path(".crucible", "grid.html")
_REDIRECT = """\
<!doctype html>
<meta charset="utf-8">
<title>crucible-batch</title>
<meta http-equiv="refresh" content="0; url=../{page}#view=compare">
<a href="../{page}#view=compare">The comparison grid</a>
"""


def has_screen(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return whether there is a screen for a browser.

    Without one, a browser might take over the terminal, or hang.
    """
    return platform in {"darwin", "win32"} or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def open_grid(page: Path) -> bool:
    """Open a run's page at its comparison grid. Return False if no browser can be opened.

    ``xdg-open`` and others drop the fragment of a file URL, so a page in the run's hidden folder
    redirects to it.
    """
    redirect = page.parent / _GRID
    try:
        redirect.write_text(_REDIRECT.format(page=page.name), encoding="utf-8")
    except OSError:
        return False
    return webbrowser.open(redirect.absolute().as_uri())


DEMO_DIR = Path("outputs/demo/default")


def run_demo(
    output: CommandOutput,
    *,
    out_dir: Path | None,
    display: DisplayMode,
    open_page: bool | None,
    features: tuple[FeatureOptions, ...],
) -> None:
    """Run the demo manifest on a new sandbox, in a new directory.

    ``features`` are the options of features. If ``open_page`` is None, the comparison grid opens in
    a browser if output goes to a terminal and there is a screen.
    """
    manifest = demo_manifest()
    target = free_directory(out_dir or DEMO_DIR)
    if not output.quiet:
        say_sentence(
            output.err,
            ("Creating thirty images on a local gateway; no data leaves this machine.", "quiet"),
        )
    request = RunRequest(manifest, out_dir=target, features=features)
    ran, charges = asyncio.run(_run_on_sandbox(output, request, display))
    show_run_ending(output, ran, request.job_filter, command=None)
    if not output.quiet:
        fact(output.out, "ledger", _ledger_words(charges, ran.result.report))
        fact(output.out, "manifest", str(relative_to_here(manifest)))
        fact(output.out, "next", ("crucible-batch init my-batch", "command"))
    _show_page(output, ran.result.page, open_page)


def _show_page(output: CommandOutput, page: Path | None, open_page: bool | None) -> None:
    is_watched = output.out.is_terminal and not output.json and not output.quiet
    is_wanted = open_page
    if is_wanted is None:
        is_wanted = is_watched and has_screen()
    if page is None or not is_wanted:
        return
    if open_grid(page):
        say_sentence(output.err, ("Opening the comparison grid in your browser.", "quiet"))
    else:
        say_note(output.err, "no browser could be opened; open the page manually")


@dataclass(frozen=True, slots=True)
class _Charges:
    """What the sandbox's ledger has: the credits taken, and the entries that charge each job."""

    credits: Credits
    jobs: Counter[str]


async def _run_on_sandbox(
    output: CommandOutput, request: RunRequest, display: DisplayMode
) -> tuple[FinishedRun, _Charges]:
    async with serve(SandboxConfig(runners=6, recent_entries=_ENTRIES)) as gateway:
        settings = Settings(
            api_key=gateway.api_key, base_url=gateway.api_url, key_source="the sandbox"
        )
        async with connect(settings) as client:
            before = await client.credits()
            ran = await run_showing(output, request, settings, display)
            after = await client.credits()
    jobs = Counter(
        entry.job_id
        for entry in after.recent_entries
        if entry.job_id is not None and entry.entry_type == "consume"
    )
    return ran, _Charges(before.balance - after.balance, jobs)


def _ledger_words(charges: _Charges, report: ReportHead) -> str:
    """Compare the sandbox's ledger with the report."""
    count, spent = len(charges.jobs), report.credits.spent
    often = "each once" if charges.jobs.total() == count else "some of them twice"
    words = f"the gateway charged {count} jobs, {often}: {format_credits(charges.credits)} credits"
    if (count, charges.credits) == (report.counts.succeeded, spent):
        return f"{words}, as the report has"
    return f"{words}; the report has {report.counts.succeeded} and {format_credits(spent)}"


def demo_manifest() -> Path:
    """Return the path of the demo's manifest: in the installed package, else in the checkout.

    Raises ``UserError`` if there is neither.
    """
    package = Path(str(files("crucible_batch")))
    for folder in (package / "manifests", package.parent / "manifests"):
        if (folder / "demo.yaml").is_file():
            return folder / "demo.yaml"
    raise UserError("the demo's manifest is missing", hint="reinstall crucible-batch")


def free_directory(wanted: Path) -> Path:
    """Return ``wanted``, or the first of ``wanted-2``, ``wanted-3`` ... that doesn't exist.

    Each demo has a new gateway without the earlier jobs, so it can't resume in their directories.
    """
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([wanted], numbered) if not path.exists())

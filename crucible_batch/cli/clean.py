"""The ``clean`` command: asks, deletes, and shows the result as text and JSON."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from crucible_batch.api import AssetFate, Cleaning, KeepReason, clean, clean_assets, format_credits
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.command_line import again
from crucible_batch.cli.options import CleanOptions
from crucible_batch.cli.terminal import Json, fact, say, tell, working
from crucible_batch.errors import ConsentError
from crucible_batch.settings import Settings

SHOWN = 20
_REASONS = {
    KeepReason.FOUND: "uploaded by another run and only reused by this one; --found includes them",
    KeepReason.NEEDED: "needed by an unfinished job: ",
    KeepReason.SHARED: "needed by an unfinished job in ",
    KeepReason.IN_DOUBT: "upload not confirmed: the answer was lost; the next run resolves it",
}


def clean_and_tell(answer: CommandOutput, run_dir: Path, chosen: CleanOptions, settings: Settings) -> None:
    """Delete assets that no job needs, and show the rebates."""
    asks = not chosen.yes and _can_ask(answer)
    work = clean_assets(
        run_dir,
        found=chosen.found,
        dry_run=chosen.dry_run,
        confirm=None if chosen.yes else _asker(answer) if asks else _refuser(answer),
        settings=settings,
    )
    if asks:
        cleaning = asyncio.run(work)
    else:
        with working(answer.err, "deleting assets"):
            cleaning = asyncio.run(work)
    answer.data = _as_json(cleaning, dry_run=chosen.dry_run)
    if cleaning.failure is not None:
        failure = cleaning.failure
        answer.blame(failure.code, failure.message, again(), exit_code=cleaning.exit_code)
    if not answer.quiet:
        _show(answer, cleaning, chosen)


def _can_ask(answer: CommandOutput) -> bool:
    return sys.stdin.isatty() and answer.err.is_terminal


def _refuser(answer: CommandOutput) -> Callable[[Cleaning], bool]:
    """Return a function that lists the assets and refuses to delete them, since nobody can be asked."""

    def refuse(cleaning: Cleaning) -> bool:
        answer.data = _as_json(cleaning, dry_run=False)
        if not answer.quiet:
            _show_fates(answer, cleaning)
        count = _assets(len(cleaning.going))
        raise ConsentError(f"{count} not deleted: without a terminal, --yes is required", hint=again("--yes"))

    return refuse


def _asker(answer: CommandOutput) -> Callable[[Cleaning], bool]:
    def ask(cleaning: Cleaning) -> bool:
        _show_fates(answer, cleaning)
        tell(answer.err, ("A later job that needs a deleted image pays for its upload again.", "warn"))
        answer.err.print(f"Delete {_assets(len(cleaning.going))} at the gateway? [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    return ask


def _show(answer: CommandOutput, cleaning: Cleaning, chosen: CleanOptions) -> None:
    dry_run = chosen.dry_run
    going, deleted = cleaning.going, cleaning.deleted
    where = (f"   {clean(str(cleaning.run_dir), 4000)}", "quiet")
    if not going:
        say(answer.out, ("✓ ", "good"), ("no asset to delete", "strong"), where)
    elif dry_run:
        charged = format_credits(sum((fate.charged for fate in going), Decimal(0)))
        say(answer.out, (f"{_assets(len(going))} would be deleted; uploading cost {charged} credits", "strong"), where)
    else:
        mark = ("✓ ", "good") if cleaning.failure is None else ("! ", "warn")
        words = f"{_assets(len(deleted))} deleted, {format_credits(cleaning.rebates)} credits rebated"
        say(answer.out, mark, (words, "strong"), where)
    _show_fates(answer, cleaning)
    if cleaning.failure is not None:
        fact(answer.out, "stopped", (clean(str(cleaning.failure)), "warn"))
        fact(answer.out, "next", (again(), "command"))
    elif dry_run and going:
        fact(answer.out, "next", (again() if chosen.yes or _can_ask(answer) else again("--yes"), "command"))


def _show_fates(answer: CommandOutput, cleaning: Cleaning) -> None:
    for fate in cleaning.going[:SHOWN]:
        rebate = "" if fate.rebate is None else f"   {format_credits(fate.rebate)} credits rebated"
        say(
            answer.out,
            "  ",
            clean(fate.filename or fate.sha256[:16], 80),
            (f"   {clean(fate.asset_id or '')}{rebate}", "quiet"),
        )
    if len(cleaning.going) > SHOWN:
        say(answer.out, (f"  … and {len(cleaning.going) - SHOWN:,} more; --json has them all", "quiet"))
    kept: dict[str, list[AssetFate]] = defaultdict(list)
    for fate in cleaning.fates:
        if fate.stays is not None:
            kept[_REASONS[fate.stays] + (clean(fate.because, 200) if fate.because else "")].append(fate)
    for reason, fates in list(kept.items())[:SHOWN]:
        fact(answer.out, "kept", f"{len(fates)}  ", (reason, "quiet"))


def _assets(count: int) -> str:
    return f"{count:,} asset{'s' if count != 1 else ''}"


def _as_json(cleaning: Cleaning, *, dry_run: bool) -> Json:
    return {
        "run_dir": str(cleaning.run_dir),
        "dry_run": dry_run,
        "deleted": len(cleaning.deleted),
        "rebates": format_credits(cleaning.rebates),
        "assets": [
            {
                "asset_id": fate.asset_id,
                "sha256": fate.sha256,
                "filename": fate.filename,
                "charged": format_credits(fate.charged),
                "deleted": fate.rebate is not None,
                "rebate": None if fate.rebate is None else format_credits(fate.rebate),
                "stays": None if fate.stays is None else fate.stays.value,
                "because": fate.because,
            }
            for fate in cleaning.fates
        ],
    }

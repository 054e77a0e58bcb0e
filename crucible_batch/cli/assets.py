"""Deletion of a run's images (``assets --delete``): asks, deletes, and shows the result."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path

from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import (
    Json,
    agrees,
    can_ask,
    fact,
    say,
    say_more,
    say_sentence,
    working,
)
from crucible_batch.cli.units import counted
from crucible_batch.core.asset import KeepReason
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import ConsentError
from crucible_batch.runs.cleaning import AssetFate, Cleaning, delete_assets
from crucible_batch.settings import Settings

SHOWN = 20
_REASONS = {
    KeepReason.FOUND: "uploaded by another run and only reused by this one; --found includes them",
    KeepReason.NEEDED: "needed by an unfinished job: ",
    KeepReason.SHARED: "needed by an unfinished job in ",
    KeepReason.IN_DOUBT: "upload not confirmed: the answer was lost; the next run resolves it",
}


def delete_and_show(
    output: CommandOutput,
    run_dir: Path,
    settings: Settings,
    *,
    found: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    confirm = None
    if not yes:
        confirm = partial(_confirm, output)
    work = delete_assets(run_dir, found=found, dry_run=dry_run, confirm=confirm, settings=settings)
    # A spinner would cover the question.
    spinner: AbstractContextManager[None] = nullcontext()
    if yes or not can_ask(output.err):
        spinner = working(output.err, "deleting assets")
    with spinner:
        cleaning = asyncio.run(work)
    output.data = _as_json(cleaning, dry_run=dry_run)
    if cleaning.failure is not None:
        failure = cleaning.failure
        output.blame(failure.code, failure.message, again(), exit_code=cleaning.exit_code)
    if not output.quiet:
        _show(output, cleaning, dry_run=dry_run, is_confirmed=yes or can_ask(output.err))


def _confirm(output: CommandOutput, cleaning: Cleaning) -> bool:
    """Ask on the terminal. Raises ``ConsentError`` after listing the assets if there is none."""
    is_asked = can_ask(output.err)
    if is_asked or not output.quiet:
        _show_fates(output, cleaning)
    count = counted(len(cleaning.going), "asset")
    if not is_asked:
        output.data = _as_json(cleaning, dry_run=False)
        raise ConsentError(
            f"{count} not deleted: without a terminal, --yes is required", hint=again("--yes")
        )
    say_sentence(
        output.err, ("A later job that needs a deleted image pays for its upload again.", "warn")
    )
    return agrees(output.err, f"Delete {count} at the gateway?")


def _show(output: CommandOutput, cleaning: Cleaning, *, dry_run: bool, is_confirmed: bool) -> None:
    going, deleted = cleaning.going, cleaning.deleted
    where = (f"   {clean_path(cleaning.run_dir)}", "quiet")
    if not going:
        say(output.out, ("✓ ", "good"), ("no asset to delete", "strong"), where)
    elif dry_run:
        charged = format_credits(sum((fate.charged for fate in going), Decimal(0)))
        words = f"{counted(len(going), 'asset')} would be deleted; uploading cost {charged} credits"
        say(output.out, (words, "strong"), where)
    else:
        mark = ("✓ ", "good")
        if cleaning.failure is not None:
            mark = ("! ", "warn")
        rebates = format_credits(cleaning.rebates)
        words = f"{counted(len(deleted), 'asset')} deleted, {rebates} credits rebated"
        say(output.out, mark, (words, "strong"), where)
    _show_fates(output, cleaning)
    if cleaning.failure is not None:
        fact(output.out, "stopped", (clean(str(cleaning.failure)), "warn"))
        fact(output.out, "next", (again(), "command"))
    elif dry_run and going:
        command = again("--delete")
        if not is_confirmed:
            command = again("--delete", "--yes")
        fact(output.out, "next", (command, "command"))


def _show_fates(output: CommandOutput, cleaning: Cleaning) -> None:
    for fate in cleaning.going[:SHOWN]:
        about = f"   {clean(fate.asset_id or '')}"
        if fate.rebate is not None:
            about += f"   {format_credits(fate.rebate)} credits rebated"
        name = clean(fate.filename or fate.sha256[:16], 80)
        say(output.out, "  ", name, (about, "quiet"))
    say_more(output.out, len(cleaning.going) - SHOWN)
    kept: dict[str, list[AssetFate]] = defaultdict(list)
    for fate in cleaning.fates:
        if fate.stays is not None:
            reason = _REASONS[fate.stays] + clean(fate.because or "", 200)
            kept[reason].append(fate)
    for reason, fates in list(kept.items())[:SHOWN]:
        fact(output.out, "kept", f"{len(fates)}  ", (reason, "quiet"))


def _as_json(cleaning: Cleaning, *, dry_run: bool) -> Json:
    return {
        "run_dir": str(cleaning.run_dir),
        "dry_run": dry_run,
        "deleted": len(cleaning.deleted),
        "rebates": format_credits(cleaning.rebates),
        "assets": [_fate_json(fate) for fate in cleaning.fates],
    }


def _fate_json(fate: AssetFate) -> Json:
    return {
        "asset_id": fate.asset_id,
        "sha256": fate.sha256,
        "filename": fate.filename,
        "charged": format_credits(fate.charged),
        "deleted": fate.rebate is not None,
        "rebate": None if fate.rebate is None else format_credits(fate.rebate),
        "stays": None if fate.stays is None else fate.stays.value,
        "because": fate.because,
    }

"""``prune --rejected``: shows which rejected outputs go, asks, and shows what was deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal as format_bytes

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
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import CrucibleBatchError, ExitCode, UserError
from crucible_batch.features.prune.rejected import (
    RejectedOutputs,
    delete_rejected,
    find_rejected,
)
from crucible_batch.features.prune.retention import RetentionRules

_SHOWN = 20


def prune_rejected_and_show(
    output: CommandOutput, directory: Path, rules: RetentionRules, *, dry_run: bool, yes: bool
) -> None:
    """Delete the rejected outputs of the runs below a directory. Without consent, only show them.

    ``rules`` are the other criteria of the command, which can't be given as well.
    """
    if rules != RetentionRules():
        raise UserError(
            "--rejected can't be used together with --older-than, --keep and --max-size",
            hint="prune twice: once with --rejected, and once with the others",
        )
    if not directory.is_dir():
        raise UserError(
            f"there is no directory {directory}", hint="choose a directory that contains runs"
        )
    with working(output.err, "reading the runs"):
        found = find_rejected(directory)
    going = [each for each in found if each.error is None and not each.is_busy]
    if not dry_run and going and (yes or _agreed(output, going)):
        with working(output.err, "deleting outputs"):
            done = [delete_rejected(each) if each in going else each for each in found]
        _blame(output, done)
        _show(output, done, "deleted", dry_run=False)
        return
    _show(output, found, "would be deleted", dry_run=True)
    if going and not yes and not output.quiet:
        fact(output.out, "next", (again("--yes"), "command"))


def _agreed(output: CommandOutput, going: Sequence[RejectedOutputs]) -> bool:
    """Ask on the terminal; False if there is none, so that the command is a dry run."""
    if not can_ask(output.err):
        return False
    say_sentence(output.err, ("The outputs that count are kept.", "warn"))
    count, size = sum(each.count for each in going), sum(each.byte_size for each in going)
    return agrees(output.err, f"Delete {counted(count, 'rejected output')}, {format_bytes(size)}?")


def _blame(output: CommandOutput, done: Sequence[RejectedOutputs]) -> None:
    failed = [each for each in done if each.error is not None]
    if failed:
        error = failed[0].error
        code = error.code if isinstance(error, CrucibleBatchError) else "DISK"
        message = f"{failed[0].run_dir}: {error}"
        output.blame(code, message, again(), exit_code=ExitCode.STOPPED)


def _show(
    output: CommandOutput, found: Sequence[RejectedOutputs], word: str, *, dry_run: bool
) -> None:
    output.data = {
        "dry_run": dry_run,
        "byte_size": sum(map(_bytes, found)),
        "runs": [_as_json(each) for each in found],
    }
    if output.quiet:
        return
    going = [each for each in found if not each.is_busy and each.error is None]
    count, size = sum(each.count for each in going), sum(map(_bytes, going))
    words = "no rejected output to delete"
    if going:
        words = f"{counted(count, 'rejected output')} {word}, {format_bytes(size)}"
    say(output.out, (words, "strong"))
    for each in going[:_SHOWN]:
        say(
            output.out, f"  {clean_path(each.run_dir)}   {each.count}, {format_bytes(_bytes(each))}"
        )
    say_more(output.out, len(going) - _SHOWN)
    for each in found:
        if each.is_busy:
            fact(output.out, "kept", f"{clean_path(each.run_dir)}  ", ("a run is active", "quiet"))
        elif each.error is not None:
            fact(output.out, "failed", (clean(f"{each.run_dir}: {each.error}", 4000), "bad"))
        for path in each.kept:
            fact(output.out, "left", (clean(f"{each.run_dir}/{path}", 300), "warn"))


def _bytes(each: RejectedOutputs) -> int:
    return each.byte_size if each.deleted is None else each.deleted


def _as_json(each: RejectedOutputs) -> Json:
    return {
        "run_dir": str(each.run_dir),
        "outputs": each.count,
        "byte_size": _bytes(each),
        "busy": each.is_busy,
        "left": list(each.kept),
        "error": None if each.error is None else str(each.error),
    }

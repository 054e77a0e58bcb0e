"""The ``verify`` command: runs the check, and shows the differences as text and JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from crucible_batch.api import Difference, FileState, Verification, clean, verify
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json, fact, is_lively, say, say_more, say_sentence
from crucible_batch.errors import ExitCode
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

DIFFERENT = "DIFFERENT"
SHOWN = 20


def verify_and_show(output: CommandOutput, run_dir: Path, settings: Settings | None, *, fix: bool) -> None:
    with _counting(output) as on_checked:
        found = asyncio.run(verify(run_dir, fix=fix, on_checked=on_checked, settings=settings))
    output.data = _as_json(found)
    left = [difference for difference in found.differences if not difference.fixed]
    if left:
        message = f"{len(left)} of {found.checked} outputs differ from the journal"
        hint = _fixing(run_dir) if not fix and _are_fixable(left) else None
        code = DIFFERENT if found.exit_code is ExitCode.DIFFERENCE or found.failure is None else found.failure.code
        output.blame(code, message, hint, exit_code=found.exit_code)
    if not output.quiet:
        _show(output, found, left, fix=fix)


@contextmanager
def _counting(output: CommandOutput) -> Iterator[Callable[[int], None]]:
    """Show the number of checked files on a terminal; yield the callback that takes the count."""
    if not is_lively(output.err) or output.quiet:
        yield lambda _count: None
        return
    with output.err.status(Text("checking", style="dim"), spinner="dots", spinner_style="cyan") as status:
        yield lambda count: status.update(Text(f"{count:,} files checked", style="dim"))


def _show(output: CommandOutput, found: Verification, left: list[Difference], *, fix: bool) -> None:
    fixed = len(found.differences) - len(left)
    mark, style = ("✗", "bad") if left else ("✓", "good")
    whole = found.counts.get(FileState.OK, 0)
    parts = [f" of {found.checked:,} outputs match their recorded SHA-256"]
    if fixed:
        parts.append(f", {fixed:,} fixed")
    if left:
        parts.append(f", {len(left):,} {'differs' if len(left) == 1 else 'differ'}")
    about = f"   {_size(found.byte_size)}" + (f" · {found.retired} of retired jobs" if found.retired else "")
    headline = Text.assemble(
        (f"{mark} ", style), (f"{whole:,}", "strong"), ("".join(parts), "strong"), (about, "quiet")
    )
    say_sentence(output.out, headline)
    for difference in found.differences[:SHOWN]:
        _show_difference(output, difference)
    say_more(output.out, len(found.differences) - SHOWN)
    if found.leftovers:
        done = "removed" if fix else "the next run removes them"
        fact(output.out, "leftover", ", ".join(map(clean, found.leftovers[:3])), (f"   {done}", "quiet"), width=10)
    if found.running:
        fact(output.out, "note", "a run is in progress: only the outputs saved so far were checked", width=10)
    if found.failure is not None:
        fact(output.out, "stopped", (clean(str(found.failure)), "warn"), width=10)
    if not fix and _are_fixable(left):
        fact(output.out, "next", (_fixing(found.run_dir), "command"), width=10)


def _show_difference(output: CommandOutput, difference: Difference) -> None:
    whose = f"   {clean(difference.name, 80)}" + (", retired" if difference.retired else "")
    label = ("  fixed      ", "good") if difference.fixed else (f"  {difference.state.value:<10} ", "bad")
    was = f", was {difference.state.value}" if difference.fixed else ""
    say(output.out, label, clean(difference.path, 300), (whose + was, "quiet"))
    if difference.kept is not None:
        say(output.out, ("             the other file is kept as ", "quiet"), clean(difference.kept, 300))
    if difference.error is not None:
        error = difference.error
        hint = f"; {error.hint}" if error.hint else ""
        say(
            output.out,
            (f"             {clean(error.code, 60)}: {clean(error.message, 200)}{clean(hint, 300)}", "quiet"),
        )


def _are_fixable(differences: list[Difference]) -> bool:
    """Return whether ``--fix`` may resolve any of the differences: a link or a directory is removed by the user."""
    return any(difference.state is not FileState.REPLACED for difference in differences)


def _fixing(run_dir: Path) -> str:
    return shell_command("verify", clean(str(run_dir), 4000), "--fix")


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"


def _as_json(found: Verification) -> Json:
    counts: dict[str, Json] = {state.value: found.counts.get(state, 0) for state in FileState}
    return {
        "run_dir": str(found.run_dir),
        "running": found.running,
        "checked": found.checked,
        "counts": counts,
        "retired": found.retired,
        "byte_size": found.byte_size,
        "fixed": sum(difference.fixed for difference in found.differences),
        "differences": [_difference_json(difference) for difference in found.differences],
        "leftovers": list(found.leftovers),
        "failure": None if found.failure is None else {"code": found.failure.code, "message": found.failure.message},
    }


def _difference_json(difference: Difference) -> Json:
    error = difference.error
    return {
        "job": difference.name,
        "retired": difference.retired,
        "index": difference.index,
        "path": difference.path,
        "state": difference.state.value,
        "fixed": difference.fixed,
        "kept": difference.kept,
        "error": None if error is None else {"code": error.code, "message": error.message, "hint": error.hint},
    }

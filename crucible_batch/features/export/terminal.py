"""The ``export`` command: exports the outputs of a run, and shows what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json, fact, is_lively, say, say_more
from crucible_batch.cli.units import counted
from crucible_batch.core.redaction import clean, clean_path, listed
from crucible_batch.features.export.exporting import ExportResult, export
from crucible_batch.shell_command import shell_command

_SHOWN = 20
_NAMES_SHOWN = 5


def export_and_show(
    output: CommandOutput, run_dir: Path, to: Path, *, form: str, picked: bool
) -> None:
    """Export the outputs of a run, and show the result. Raises as ``export``."""
    with _counting(output) as on_checked:
        done = export(run_dir, to, form=form, picked=picked, on_checked=on_checked)
    output.data = _as_json(done)
    if done.missing:
        words = f"{counted(len(done.missing), 'output')} not exported"
        output.blame("NOT_EXPORTED", words, _fix(done), exit_code=done.exit_code)
    if not output.quiet:
        _show(output, done)


@contextmanager
def _counting(output: CommandOutput) -> Iterator[Callable[[int], None]]:
    """Show the number of outputs that were read on a terminal; yield the callback that takes it."""
    if not is_lively(output.err) or output.quiet:
        yield lambda _count: None
        return
    with output.err.status(
        Text("reading", style="dim"), spinner="dots", spinner_style="cyan"
    ) as status:
        yield lambda count: status.update(Text(f"{count:,} pictures read", style="dim"))


def _show(output: CommandOutput, done: ExportResult) -> None:
    mark = ("✓ ", "good") if done.ok else ("✗ ", "bad")
    words = f"{counted(done.pictures, 'picture')} exported as {done.form}"
    say(output.out, mark, (words, "strong"), (f"   {clean_path(done.directory)}", "quiet"))
    counts = ((done.written, "written"), (done.kept, "there before"), (done.removed, "removed"))
    fact(output.out, "files", " · ".join(f"{count:,} {word}" for count, word in counts if count))
    if done.changed:
        names = listed([clean(path, 200) for path in done.changed], _NAMES_SHOWN)
        fact(output.out, "changed", (f"{names}: changed since, and left as they are", "warn"))
    for each in done.missing[:_SHOWN]:
        fact(output.out, "missing", (f"{clean(each.path, 300)}: {each.state}", "bad"))
    say_more(output.out, len(done.missing) - _SHOWN)
    if done.missing:
        fact(output.out, "next", (_fix(done), "command"))


def _fix(done: ExportResult) -> str:
    return shell_command("check", done.run_dir, "--fix")


def _as_json(done: ExportResult) -> Json:
    return {
        "run_dir": str(done.run_dir),
        "directory": str(done.directory),
        "form": done.form.value,
        "pictures": done.pictures,
        "written": done.written,
        "kept": done.kept,
        "removed": done.removed,
        "changed": list(done.changed),
        "missing": [
            {"job": each.job, "index": each.index, "path": each.path, "state": each.state.value}
            for each in done.missing
        ],
    }

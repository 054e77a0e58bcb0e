"""The ``check`` command: it compares the ledger and the outputs, and shows the differences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal as format_bytes
from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import (
    Json,
    error_json,
    fact,
    is_lively,
    say,
    say_more,
    say_sentence,
)
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import KeyRefusedError, UserError
from crucible_batch.features.check.ledger_terminal import check_ledger_and_show
from crucible_batch.features.check.verifying import Difference, Verification, check_outputs
from crucible_batch.outputs import FileState
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.settings import KEY_VARIABLE, Settings
from crucible_batch.shell_command import shell_command

SHOWN = 20


def check_and_show(
    output: CommandOutput,
    place: Path,
    settings: Settings,
    *,
    outputs: bool,
    ledger: bool,
    fix: bool,
) -> None:
    """Check the ledger, and then the outputs, which may take long.

    ``outputs`` and ``ledger`` select one of them.
    """
    if fix and ledger and not outputs:
        raise UserError(
            "--fix restores outputs, and --ledger checks only the ledger",
            hint="leave out one of them",
        )
    run_dir = local_directory(place)
    is_whole = outputs == ledger
    data: dict[str, Json] = {"run_dir": str(run_dir), "ledger": None, "outputs": None}
    output.data = data
    if is_whole or ledger:
        if settings.api_key is None:
            raise KeyRefusedError(
                "there is no API key, and the gateway's ledger can't be read without one",
                code="NO_API_KEY",
                hint=(
                    f"set {KEY_VARIABLE}; or check only the outputs: {_again(run_dir, '--outputs')}"
                ),
            )
        data["ledger"] = check_ledger_and_show(output, run_dir, settings, look_for_unsaved=not fix)
    if is_whole or outputs:
        data["outputs"] = _check_outputs_and_show(output, run_dir, settings, fix=fix)


def _check_outputs_and_show(
    output: CommandOutput, run_dir: Path, settings: Settings, *, fix: bool
) -> Json:
    with _counting(output) as on_checked:
        found = asyncio.run(
            check_outputs(run_dir, fix=fix, on_checked=on_checked, settings=settings)
        )
    left = [difference for difference in found.differences if not difference.fixed]
    if left:
        _blame(output, found, left, fix=fix)
    if not output.quiet:
        _show(output, found, left, fix=fix)
    return _as_json(found)


def _blame(
    output: CommandOutput, found: Verification, left: list[Difference], *, fix: bool
) -> None:
    message = f"{len(left)} of {found.checked} {_noun(found)} differ from the journal"
    hint = None
    if not fix and _are_fixable(left):
        hint = _again(found.run_dir, "--fix")
    # The ledger was checked first; its differences stay in the message.
    if output.error is not None:
        message = f"{output.error['message']}; {message}"
        hint = hint or str(output.error["hint"])
    code = "DIFFERENCE"
    if found.failure is not None:
        code = found.failure.code
    output.blame(code, message, hint, exit_code=found.exit_code)


@contextmanager
def _counting(output: CommandOutput) -> Iterator[Callable[[int], None]]:
    """Show the number of checked files on a terminal; yield the callback that takes the count."""
    if not is_lively(output.err) or output.quiet:
        yield lambda _count: None
        return
    with output.err.status(
        Text("checking", style="dim"), spinner="dots", spinner_style="cyan"
    ) as status:
        yield lambda count: status.update(Text(f"{count:,} files checked", style="dim"))


def _noun(found: Verification) -> str:
    return "files" if found.made else "outputs"


def _headline(found: Verification, left: list[Difference]) -> Text:
    mark, style = "✓ ", "good"
    if left:
        mark, style = "✗ ", "bad"
    correct = found.counts.get(FileState.OK, 0)
    fixed = len(found.differences) - len(left)
    sentence = f" of {found.checked:,} {_noun(found)} match their recorded SHA-256"
    if fixed:
        sentence += f", {fixed:,} fixed"
    if left:
        verb = "differs" if len(left) == 1 else "differ"
        sentence += f", {len(left):,} {verb}"
    about = f"   {format_bytes(found.byte_size)}"
    if found.made:
        about += f" · {found.made:,} made from outputs"
    if found.retired:
        about += f" · {found.retired} of jobs no longer in the manifest"
    return Text.assemble(
        (mark, style), (f"{correct:,}", "strong"), (sentence, "strong"), (about, "quiet")
    )


def _show(output: CommandOutput, found: Verification, left: list[Difference], *, fix: bool) -> None:
    say_sentence(output.out, _headline(found, left))
    for difference in found.differences[:SHOWN]:
        _show_difference(output, difference)
    say_more(output.out, len(found.differences) - SHOWN)
    if found.leftovers:
        done = "removed" if fix else "the next run removes them"
        fact(
            output.out,
            "leftover",
            ", ".join(map(clean, found.leftovers[:3])),
            (f"   {done}", "quiet"),
            width=10,
        )
    if found.running:
        fact(
            output.out,
            "note",
            "a run is in progress: only the outputs saved so far were checked",
            width=10,
        )
    if found.failure is not None:
        fact(output.out, "stopped", (clean(str(found.failure)), "warn"), width=10)
    if not fix and _are_fixable(left):
        fact(output.out, "next", (_again(found.run_dir, "--fix"), "command"), width=10)


def _show_difference(output: CommandOutput, difference: Difference) -> None:
    state = difference.state.value
    label = (f"  {state:<10} ", "bad")
    about = f"   {clean(difference.name, 80)}"
    if difference.retired:
        about += ", retired"
    if difference.fixed:
        label = ("  fixed      ", "good")
        about += f", was {state}"
    say(output.out, label, clean(difference.path, 300), (about, "quiet"))
    if difference.kept is not None:
        say(
            output.out,
            ("             the other file is kept as ", "quiet"),
            clean(difference.kept, 300),
        )
    if difference.error is not None:
        error = difference.error
        reason = f"             {clean(error.code, 60)}: {clean(error.message, 200)}"
        if error.hint:
            reason += clean(f"; {error.hint}", 300)
        say(output.out, (reason, "quiet"))


def _are_fixable(differences: list[Difference]) -> bool:
    """Return whether ``--fix`` may resolve any of the differences.

    It doesn't replace a link or a directory: these are removed by the user.
    """
    return any(difference.state is not FileState.REPLACED for difference in differences)


def _again(run_dir: Path, option: str) -> str:
    return shell_command("check", clean_path(run_dir), option)


def _as_json(found: Verification) -> Json:
    counts: dict[str, Json] = {state.value: found.counts.get(state, 0) for state in FileState}
    return {
        "running": found.running,
        "checked": found.checked,
        "counts": counts,
        "made": found.made,
        "retired": found.retired,
        "byte_size": found.byte_size,
        "fixed": sum(difference.fixed for difference in found.differences),
        "differences": [_difference_json(difference) for difference in found.differences],
        "leftovers": list(found.leftovers),
        "failure": error_json(found.failure),
    }


def _difference_json(difference: Difference) -> Json:
    return {
        "job": difference.name,
        "retired": difference.retired,
        "index": difference.index,
        "path": difference.path,
        "state": difference.state.value,
        "fixed": difference.fixed,
        "kept": difference.kept,
        "error": error_json(difference.error),
    }

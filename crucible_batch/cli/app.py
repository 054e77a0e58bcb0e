"""The Typer application: its commands, its help, and the exit codes of errors outside a command."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from crucible_batch import __version__
from crucible_batch.cli import inspect_commands, run_commands, start_commands
from crucible_batch.cli.command_output import BUG, Terminated, answering
from crucible_batch.cli.help_text import PlainGroup, exit_code_table
from crucible_batch.cli.terminal import silence
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.features import found

_WORDS = (
    ("Value error, ", ""),
    ("Input should be ", "must be "),
    (", unable to parse string as an integer", ""),
)
"""Phrases of Typer's messages about invalid values, and what is shown instead."""
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # Typer exports only its subclass

_EXIT_CODES = exit_code_table(
    tuple(ExitCode), f"{BUG:>5}  a bug in crucible-batch; -v prints the traceback"
)

app = typer.Typer(
    name="crucible-batch",
    cls=PlainGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]First steps[/bold]\n"
    "  crucible-batch demo\n"
    "  crucible-batch init my-batch\n\n"
    f"{_EXIT_CODES}",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"crucible-batch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Run the image jobs of a YAML manifest on the Crucible gateway, within a budget; interrupted
    runs resume.

    Requires an API key in MOLTAZINE_API_KEY, in the environment or in .env. `crucible-batch demo`
    runs without one.
    """


for _module in (start_commands, run_commands, inspect_commands, *found("commands")):
    app.add_typer(_module.commands)


_ZSH_END = "\ncompdef %(complete_func)s %(prog_name)s\n"
_ZSH_END_FIXED = """
if [ "$funcstack[1]" = "_%(prog_name)s" ]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""


def _mend_zsh() -> None:
    """Fix Typer's zsh script, which completes nothing on the first Tab of a shell.

    zsh runs the file as a function on the first Tab; Typer's script only defines the function for
    the next Tab. If a version of Typer has a different script, it is not changed: the scripts are
    not part of Typer's API.
    """
    scripts = getattr(
        importlib.import_module("typer._completion_shared"), "_completion_scripts", {}
    )
    if _ZSH_END in scripts.get("zsh", ""):
        scripts["zsh"] = scripts["zsh"].replace(_ZSH_END, _ZSH_END_FIXED)


def main() -> None:
    """Run the command line and exit the process with its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminate)
    if not {"--install-completion", "--show-completion"}.isdisjoint(sys.argv):
        _mend_zsh()
    try:
        code = app(standalone_mode=False)
    except Terminated:
        code = ExitCode.SIGTERM
    except typer.Abort:
        code = ExitCode.SIGINT
    except _UsageError as error:
        code = _refuse(error)
    except OSError as error:  # the help can't be written; ``answering`` shows errors of a command
        code = ExitCode.STOPPED
        _print_last(f"error {error.strerror}")
    sys.exit(int(code or 0))


def _print_last(text: str) -> None:
    """Print to stderr, which may be the failed stream, and silence both streams so that the flush
    at exit succeeds."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the last line
    silence(sys.stdout)
    silence(sys.stderr)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(int(ExitCode.SIGTERM))


def _refuse(error: Exception) -> int:
    """Show what is wrong with the command line, also as JSON if ``--json`` is given."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "crucible-batch"
    if type(error).__name__ == "NoArgsIsHelpError":
        return ExitCode.USER_ERROR
    try:
        with answering(path.partition(" ")[2] or path, json="--json" in sys.argv):
            # Typer exports no base class that has it.
            message = error.format_message()  # type: ignore[attr-defined]
            for theirs, ours in _WORDS:
                message = message.replace(theirs, ours)
            raise UserError(message, hint=f"{path} --help")
    except typer.Exit as ending:
        return ending.exit_code

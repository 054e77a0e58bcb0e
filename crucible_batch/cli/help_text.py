"""The help of commands: examples, exit codes, and the everyday options of long commands."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from crucible_batch.errors import ExitCode

_SHOWS_ALL = "crucible_batch.help_all"


def epilog(*examples: str, codes: Collection[ExitCode] = ()) -> str:
    """Return the epilog of a command's help, in Rich markup."""
    title = "Example" if len(examples) == 1 else "Examples"
    lines = [f"[bold]{title}[/bold]", *(f"  {escape(example)}" for example in examples)]
    exit_codes = "[bold]Exit codes[/bold]  crucible-batch --help"
    if codes:
        exit_codes = exit_code_table(codes)
    return "\n\n".join(["\n".join(lines), exit_codes])


def exit_code_table(codes: Iterable[ExitCode], *more: str) -> str:
    """Return the exit codes with their meanings, one per line."""
    return "\n".join(["[bold]Exit codes[/bold]", *map(_row, codes), *more])


def _row(code: ExitCode) -> str:
    """Wrap a row for 80 columns, since Rich would not indent the second line."""
    return textwrap.fill(
        code.meaning, 74, initial_indent=f"{code.value:>5}  ", subsequent_indent=" " * 7
    )


class PlainCommand(TyperCommand):
    """A command whose help leaves out types without meaning, such as ``<bool>`` and ``<path>``."""

    def get_params(self, ctx: Any) -> list[Any]:
        return list(_without_plain_types(super().get_params(ctx), ctx))


class PlainGroup(TyperGroup):
    """As ``PlainCommand``, for the command without a subcommand."""

    def get_params(self, ctx: Any) -> list[Any]:
        return list(_without_plain_types(super().get_params(ctx), ctx))


def _without_plain_types(parameters: Iterable[Any], ctx: Any) -> Iterable[Any]:
    for parameter in parameters:
        # Older releases of Typer show no such types.
        shown = getattr(parameter, "display_type_rich", None)
        if shown is not None and str(shown(ctx)).startswith(
            ("<bool>", "<str>", "<list[", "<path>", "<int")
        ):
            parameter.display_type_rich = lambda ctx: None
        yield parameter


class LongCommand(PlainCommand):
    """A command with many options.

    ``--help`` shows those of ``everyday`` use, one a line, and ``--help-all`` all.
    """

    everyday: Mapping[str, str]
    """A short help for each parameter of everyday use, in their order."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = self
        if _SHOWS_ALL not in ctx.meta:
            shown = self._shortened(ctx)
        super(LongCommand, shown).format_help(ctx, formatter)

    def _shortened(self, ctx: Any) -> LongCommand:
        """Return a copy whose help has one screen of lines."""
        short = copy(self)
        named: dict[str, Any] = {each.name: copy(each) for each in self.params}
        chosen = {name: named.pop(name) for name in self.everyday}
        for name, option in chosen.items():
            option.help, option.rich_help_panel = self.everyday[name], None
            option.opts = [
                *option.opts[:1],
                *(each for each in option.opts[1:] if not each.startswith("--")),
            ]
        for other in named.values():
            other.hidden = True
        short.params = [*chosen.values(), *named.values()]
        short.add_help_option = False
        short.help = (self.help or "").partition("\n\n")[0]
        example = (self.epilog or "").splitlines()[1].strip()
        short.epilog = (
            f"[bold]Example[/bold]      {example}\n"
            f"[bold]All options[/bold]  {ctx.command_path} --help-all"
        )
        return short


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[_SHOWS_ALL] = True
        typer.echo(ctx.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", is_eager=True, callback=_show_all, help="Show all options and exit codes."
    ),
]


def with_everyday(options: Mapping[str, str]) -> type[LongCommand]:
    """Return the class of a command with these everyday options, each with its short help."""
    return type("_LongCommand", (LongCommand,), {"everyday": options})

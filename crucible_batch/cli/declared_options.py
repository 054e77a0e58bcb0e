"""The options of ``core/run_options.py`` on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from crucible_batch.cli.option_parsers import (
    option_parser,
    parse_bytes,
    parse_pixels,
    parse_wait,
    read_credits,
    read_rate,
)
from crucible_batch.core.run_options import (
    Option,
    Options,
    PlanningOptions,
    RunOptions,
    Written,
    declared,
)
from crucible_batch.option_values import parse_concurrency, parse_duration
from crucible_batch.scheduled_time import parse_time

_WRITTEN: Mapping[Written | None, Mapping[str, Any]] = {
    None: {},
    Written.CONCURRENCY: {"metavar": "N|auto", "parser": option_parser(parse_concurrency)},
    Written.COUNT: {"metavar": "N", "min": 1},
    Written.RATE: {"metavar": "N", "parser": read_rate},
    Written.DURATION: {"metavar": "DURATION", "parser": option_parser(parse_duration)},
    Written.DURATION_OR_0: {"metavar": "DURATION", "parser": option_parser(parse_wait)},
    Written.SIZE: {"metavar": "SIZE", "parser": option_parser(parse_bytes)},
    Written.PIXELS: {"metavar": "N", "parser": option_parser(parse_pixels)},
    Written.TIME: {"metavar": "TIME", "parser": option_parser(parse_time)},
    Written.DIRECTORY: {"metavar": "DIR"},
    Written.ADDRESS: {"metavar": "ADDR"},
    Written.CREDITS: {"metavar": "N", "parser": option_parser(read_credits)},
    Written.ID: {"metavar": "ID"},
    Written.NAMES: {"metavar": "NAME"},
    Written.VARIABLES: {"metavar": "K=V"},
}


def option_of(name: str) -> Any:
    """Return a declared option as Typer takes it."""
    return _info(declared(PlanningOptions, RunOptions)[name][0])


def _info(option: Option) -> Any:
    make: Any = typer.Option
    # The variable of a value is in the text of its default.
    return make(
        *option.flags.split(),
        help=option.help,
        rich_help_panel=option.panel,
        envvar=option.envvar,
        show_envvar=option.written is None,
        **_WRITTEN[option.written],
    )


def parameters_of(options: Options) -> list[Parameter]:
    """Return the parameters of a command that has these options."""
    return [_parameter(name, *found) for name, found in declared(options).items()]


def _parameter(name: str, option: Option, default: object) -> Parameter:
    kind: Any
    match option.written:
        case None:
            kind, default = bool, False
        case Written.COUNT:
            kind = int
        case Written.DIRECTORY:
            kind, default = Path | None, None
        case Written.NAMES | Written.VARIABLES:
            kind, default = list[str] | None, None
        case _:  # its parser returns the value
            kind, default = str | None, None
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, _info(option)]
    )


def options_from(options: Options, given: Mapping[str, Any]) -> Any:
    """Return the options that were given on the command line; the others have their defaults."""
    values: dict[str, Any] = {}
    for name, (option, default) in declared(options).items():
        value = given[name]
        if option.turns_off:
            value = not value
        values[name] = default if value is None else value
    return options(**values)

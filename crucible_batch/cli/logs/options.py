"""The options of a command's log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli.logs.log_format import LogFormat
from crucible_batch.cli.option_parsers import option_parser
from crucible_batch.cli.units import parse_bytes

_output = partial(typer.Option, rich_help_panel="Output")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The options for the log of a run."""

    log_file: Annotated[
        Path | None, _output("--log-file", metavar="FILE", help="Append a log to FILE, and rotate it by size.")
    ] = None
    log_format: Annotated[
        LogFormat | None,
        _output(
            "--log-format",
            help="Format of the log; without --log-file, log to stderr instead of showing progress.  \\[default: text]",
        ),
    ] = None
    log_max_size: Annotated[
        int | None,
        _output(
            "--log-max-size",
            metavar="SIZE",
            parser=option_parser(parse_bytes),
            help="Rotate the log file before it is larger.  \\[default: 10MiB]",
        ),
    ] = None
    log_keep: Annotated[
        int, _output("--log-keep", metavar="N", min=1, max=1000, help="Keep N rotated log files: FILE.1 to FILE.N.")
    ] = 5

    @property
    def max_bytes(self) -> int:
        return self.log_max_size or 10 * 1024 * 1024

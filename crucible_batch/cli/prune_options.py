"""The options of ``prune``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.cli.option_parsers import option_parser
from crucible_batch.cli.units import parse_bytes
from crucible_batch.option_values import parse_duration


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """The options of ``prune``."""

    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            parser=option_parser(parse_duration),
            help="Prune runs that ended longer ago, such as 30d.",
        ),
    ] = None
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", metavar="N", min=1, help="Keep the newest N runs of each manifest; alone, prune all others."
        ),
    ] = None
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            parser=option_parser(parse_bytes),
            help="Prune the oldest runs until all fit, such as 50GB.",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be deleted.")] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete without asking; without a terminal and --yes, only show.")
    ] = False

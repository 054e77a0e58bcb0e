"""The option ``--markdown``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import OUTPUT, FeatureOptions


@dataclass(frozen=True, slots=True)
class MarkdownOptions(FeatureOptions):
    """Whether the result is printed as Markdown."""

    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Print GitHub-flavoured Markdown, such as for a pull request.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

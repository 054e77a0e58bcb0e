"""The option of ``run`` and ``plan`` that names the file of rejections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions

EXAMPLES: Sequence[str] = ()
HELP = ""


@dataclass(frozen=True, slots=True)
class RejectsOption(FeatureOptions):
    """The file of rejections; None: that of the manifest, else that in the run directory."""

    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            metavar="FILE",
            help="Buy the outputs that this file rejects again."
            "  \\[default: rejects of the manifest, else rejects.txt in the run directory]",
            rich_help_panel=JOBS,
        ),
    ] = None

    @property
    def repeated(self) -> Mapping[str, str]:
        return {} if self.rejects is None else {"--rejects": str(self.rejects)}


Options = RejectsOption

"""The option of ``demo`` that runs it in several processes, one of which is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import FeatureOptions

EXAMPLES: Sequence[str] = ("crucible-batch demo --on local:3",)
HELP = ""


@dataclass(frozen=True, slots=True)
class DemoOptions(FeatureOptions):
    """What runs the shards of the demo; None: one process runs all."""

    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="local:N",
            help="Divide the demo among N processes here, and kill one of them on the way.",
        ),
    ] = None

    @property
    def runner(self) -> str | None:
        return None if self.on is None else "machines.demo:run_and_kill_one"


Options = DemoOptions

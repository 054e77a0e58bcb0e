"""The options of ``run`` for a run on many processes or machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions
from crucible_batch.core.sharding import MAX_SHARDS

EXAMPLES: Sequence[str] = (
    "crucible-batch run spring.yaml --budget 50 --on local:4 --out-dir s3://bucket/spring",
)
HELP = ""


@dataclass(frozen=True, slots=True)
class MachineOptions(FeatureOptions):
    """What starts the shards of a run, and into how many it is divided."""

    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="ENGINE",
            help="Divide the run among processes: local:N starts N here; workers leaves it to"
            " `crucible-batch worker` on other machines.",
            rich_help_panel=JOBS,
        ),
    ] = None
    divide: Annotated[
        int | None,
        typer.Option(
            "--divide",
            metavar="N",
            min=1,
            max=MAX_SHARDS,
            help="With --on: divide the run into N shards.  \\[default: 4 for each process]",
            rich_help_panel=JOBS,
        ),
    ] = None

    @property
    def runner(self) -> str | None:
        return None if self.on is None else "machines.coordinator:run_on_machines"


Options = MachineOptions

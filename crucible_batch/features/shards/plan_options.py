"""The options of ``plan`` that divide a plan into shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions
from crucible_batch.core.sharding import MAX_SHARDS

EXAMPLES = (
    "crucible-batch plan spring.yaml --budget 50 --shards 8 -o plan.json",
    "crucible-batch plan spring.yaml --budget 50 --shards 8 --probe -o plan.json",
)
HELP = """
    With --shards, the budget is divided among the shards, and set aside for
    them in the run directory. --probe spends credits: shards then know each
    price, and upload no image of an affordable job. If it is not completed,
    there is no plan, and the exit code is that of run.
"""


@dataclass(frozen=True, slots=True)
class DivisionOptions(FeatureOptions):
    """Into how many shards a plan is divided, and whether a probe comes before."""

    shards: Annotated[
        int | None,
        typer.Option(
            "--shards",
            metavar="N",
            min=1,
            max=MAX_SHARDS,
            help="Divide the plan and its budget into N shards, which `run FILE --shard I/N` runs"
            " on any machine.",
            rich_help_panel=JOBS,
        ),
    ] = None
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="First buy one job of each kind without a known price, and upload the images."
            " Spends credits.",
            rich_help_panel=JOBS,
        ),
    ] = False


Options = DivisionOptions

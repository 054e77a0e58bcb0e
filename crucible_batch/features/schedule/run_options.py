"""The options of ``run`` for runs of a schedule: missed times, and a run that is still active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import PACE, FeatureOptions
from crucible_batch.option_values import IfRunning

EXAMPLES: Sequence[str] = ()
HELP = ""


@dataclass(frozen=True, slots=True)
class ScheduleOptions(FeatureOptions):
    """The greatest number of missed times to catch up, and what is done while another run is
    active."""

    catch_up: Annotated[
        int | None,
        typer.Option(
            "--catch-up",
            metavar="N",
            min=0,
            max=366,
            help="First run up to N missed times of the manifest's schedule."
            "  \\[default: schedule.catch_up, else 0]",
            rich_help_panel=PACE,
        ),
    ] = None
    if_running: Annotated[
        IfRunning | None,
        typer.Option(
            "--if-running",
            help="If a run of this manifest is active, also under another run id:"
            " exit with 6, wait, or exit with 0.",
            rich_help_panel=PACE,
        ),
    ] = None


Options = ScheduleOptions

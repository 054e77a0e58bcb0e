"""The options of shards: dividing a plan, and running one shard of it."""

from __future__ import annotations

from typing import Annotated

import typer

_MOST_SHARDS = 10_000

Shards = Annotated[
    int | None,
    typer.Option(
        "--shards",
        metavar="N",
        min=1,
        max=_MOST_SHARDS,
        help="Divide the plan and its budget into N shards, which `run FILE --shard I/N` runs on any machine.",
        rich_help_panel="Which jobs",
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="First buy one job of each kind without a known price, and upload the images. Spends credits.",
        rich_help_panel="Which jobs",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Run this shard of a divided plan.  \\[default: CRUCIBLE_BATCH_SHARD, else the index of the array job]",
        rich_help_panel="Which jobs",
    ),
]

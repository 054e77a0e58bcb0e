"""The options of clusters: the database, and the shards of a wave."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "Cluster"
FROM_ENVIRONMENT = "env"
"""What ``--cluster`` is given for the address in the environment."""

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="DSN",
        help="Run on the workers of a cluster, by the address of its PostgreSQL database; env: that of"
        " CRUCIBLE_BATCH_DSN, so that its password is in no list of processes.",
        rich_help_panel=_PANEL,
    ),
]
WaveShards = Annotated[
    int | None,
    typer.Option(
        "--shards",
        metavar="N",
        min=1,
        max=10_000,
        help="With --cluster: the parts that the jobs are divided into.  \\[default: four for each worker]",
        rich_help_panel=_PANEL,
    ),
]
WorkerCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="DSN", help="Address of the PostgreSQL database.  \\[default: CRUCIBLE_BATCH_DSN]"
    ),
]
Processes = Annotated[
    int,
    typer.Option("--processes", metavar="N", min=1, max=256, help="Number of workers, each in a process of its own."),
]
Once = Annotated[bool, typer.Option("--once", help="End when no shard waits for a worker.")]


def given_address(text: str | None) -> str | None:
    """Return the address of an option; None for that of the environment."""
    return None if text == FROM_ENVIRONMENT else text

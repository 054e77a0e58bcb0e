"""The commands for clusters: ``cluster status``, ``cluster drain``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.help_text import PlainGroup

cluster = typer.Typer(name="cluster", cls=PlainGroup, no_args_is_help=True)
command = partial(opt.command, cluster, "Clusters")

Dsn = Annotated[
    str | None,
    opt.dsn_option(
        help="Address of the cluster's PostgreSQL database, which other users of this machine can see; env: that of"
        " CRUCIBLE_BATCH_DSN, which they can't.  \\[default: env]",
    ),
]


@cluster.callback()
def _about() -> None:
    """Show and drain the workers that run shards of manifests on many machines."""


@command(
    "crucible-batch cluster status",
    "crucible-batch cluster status --cluster postgresql://batch@db/batch --json",
    "crucible-batch cluster status --metrics-textfile /var/lib/node-exporter",
    codes=(0, 2, 5),
    output="json verbose",
    name="cluster status",
)
def status(
    output: CommandOutput,
    *,
    dsn: Dsn = None,
    metrics_textfile: Annotated[
        Path | None,
        typer.Option(
            "--metrics-textfile",
            metavar="DIR",
            help="Also write crucible_batch_cluster-DATABASE.prom to DIR, for Prometheus' textfile collector.",
        ),
    ] = None,
) -> None:
    """Show the runs, shards and workers of a cluster, with ages and allowances.

    Changes nothing. A shard whose worker is silent for 15 seconds is shown as
    stalled: another worker takes it. Needs neither a gateway nor an API key.
    """
    address = opt.given_address(dsn)
    from crucible_batch.cli.cluster import show_cluster

    show_cluster(output, address, metrics_textfile)


@command(
    "crucible-batch cluster drain",
    "crucible-batch cluster drain host-1:4711",
    "crucible-batch cluster drain --run outputs/spring/default",
    codes=(0, 2, 5),
    name="cluster drain",
)
def drain(
    output: CommandOutput,
    workers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORKER", help="Names as `cluster status` shows them.  \\[default: all]", show_default=False
        ),
    ] = None,
    *,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="End one run early instead: its run directory as `cluster status` shows it, its manifest name, or its"
            " id in `cluster status --json`.",
        ),
    ] = None,
    dsn: Dsn = None,
) -> None:
    """Ask workers to take no further shards, and to end after those they have.

    Other workers take the rest; a worker that is started later is not
    draining. Nothing is stopped, and no credits are lost.
    With --run, the workers remain, and one run is ended early: no shard of it
    is started any more. Its coordinator merges the shards that were, and the
    other credits are returned. The run's command, given again, continues it.
    """
    address = opt.given_address(dsn)
    from crucible_batch.cli.cluster import drain_and_show, drain_run_and_show

    if run is not None:
        drain_run_and_show(output, run, tuple(workers or ()), address)
        return
    drain_and_show(output, tuple(workers or ()), address)

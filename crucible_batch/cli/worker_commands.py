"""The command that runs shards of a cluster: ``worker``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.cluster_options import Once, Processes, WorkerCluster

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch worker --cluster postgresql://batch@db.example/batch",
    "crucible-batch worker --processes 4",
    "crucible-batch worker --once",
    codes=(0, 2, 3, 5),
)
def worker(
    answer: CommandOutput,
    *,
    cluster: WorkerCluster = None,
    processes: Processes = 1,
    once: Once = False,
    gateway: opt.GatewayOptions,
) -> None:
    """Run shards of the runs that are queued in a cluster, until stopped.

    Start it on each machine, with the API key in its environment, and with
    the run directories at the same path as on the machine of `run --cluster`,
    or with the credentials of their object store.
    A worker that is killed is replaced by another within seconds: what it
    bought is not bought twice. SIGTERM and Ctrl-C stop it in good order.
    """
    from crucible_batch.cli.cluster_worker import work_and_tell

    work_and_tell(answer, cluster, gateway, processes=processes, once=once)

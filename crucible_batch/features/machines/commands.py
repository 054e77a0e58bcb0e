"""The command ``worker``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch worker s3://bucket/spring",
    "crucible-batch worker s3://bucket/spring --drain",
)
def worker(
    output: CommandOutput,
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION",
            help="The directory or the URL of a run. It may be divided later.",
            show_default=False,
        ),
    ],
    *,
    drain: Annotated[
        bool, typer.Option("--drain", help="End once no shard is left to be run.")
    ] = False,
    gateway: opt.GatewayOptions,
) -> None:
    """Run the shards of a divided run, one after another, on this machine.

    Start it on as many machines as you like, at any time, under any supervisor.
    Shards are taken by their logs in the store: a killed worker's shard is
    continued by another one after 15 seconds, and nothing is bought twice.
    SIGTERM and Ctrl-C let the shard collect what is in flight.
    """
    import asyncio
    import signal

    from crucible_batch.features.machines.worker import Worker
    from crucible_batch.object_url import ObjectUrl
    from crucible_batch.runs.connecting import require_key
    from crucible_batch.runs.object_runs import objects_at

    url = ObjectUrl.at(location)
    settings = gateway.settings()
    require_key(settings)
    objects = objects_at(url)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Worker(url, objects, stop, settings, drains=drain).serve()

    asyncio.run(serve())
    output.data = {"location": str(url)}

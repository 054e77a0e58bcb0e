"""The commands for scheduled runs: ``schedule list`` and ``schedule export``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.help_text import PlainGroup
from crucible_batch.features.schedule.options import ExportChoices, SchedulerName

commands = typer.Typer(name="schedule", cls=PlainGroup, no_args_is_help=True)
command = partial(opt.command, commands, "Scheduled runs")


@commands.callback(rich_help_panel="Automate")
def _about() -> None:
    """List and export the schedules of manifests."""


@command(
    "crucible-batch schedule list",
    "crucible-batch schedule list nightly/ -n 20 --json",
    output="json verbose",
    name="schedule list",
)
def list_schedules(
    output: CommandOutput,
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR|MANIFEST",
            help="Folders of manifests, or manifests.  \\[default: .]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", metavar="N", min=1, max=1000, help="Number of times.")
    ] = 10,
) -> None:
    """List the next times of all manifests that have a schedule.

    Of a folder, the manifests in it and directly below it are read. Needs
    neither a gateway nor an API key.
    """
    from crucible_batch.features.schedule.list_command import show_times

    show_times(output, places or [Path()], count=count)


@command(
    "crucible-batch schedule export nightly.yaml --to cron",
    "crucible-batch schedule export . --to systemd --env-file batch.env -o units",
    "crucible-batch schedule export . --to kubernetes --image registry/batch:1",
    name="schedule export",
)
def export_schedules(
    output: CommandOutput,
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST|DIR", help="Manifests, or folders of them.", show_default=False
        ),
    ],
    *,
    to: Annotated[SchedulerName, typer.Option("--to", help="The scheduler.", show_default=False)],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write the files into DIR instead of printing them.",
        ),
    ] = None,
    chosen: ExportChoices,
    force: opt.Force = False,
) -> None:
    """Write the files that make another scheduler run manifests.

    Runs have the current directory as working directory, as they have when
    you start them here. The API key is not written. An export is refused if
    the scheduler can't have the times of a manifest, such as cron those of
    another time zone.
    """
    from crucible_batch.features.schedule.export_command import export_and_show

    export_and_show(output, places, to.value, chosen, folder=folder, force=force)

"""The options of ``schedule`` commands."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli.option_parsers import option_parser
from crucible_batch.cli.options import AllowCommand
from crucible_batch.option_values import parse_duration


class SchedulerName(enum.StrEnum):
    """What can be exported to, each with a function in ``export/writing.py``."""

    CRON = "cron"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    GITHUB_ACTIONS = "github-actions"


EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file", metavar="FILE", help="File with the API key for the runs.  \\[default: .env]"
    ),
]


@dataclass(frozen=True, slots=True)
class ExportChoices:
    env_file: EnvFile = None
    deadline: Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="DURATION",
            parser=option_parser(parse_duration),
            help="Time limit of a run.  \\[default: the manifest's, else 6h]",
        ),
    ] = None
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", help="systemd and /etc/cron.d: the user that runs belong to."
        ),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="IMAGE", help="kubernetes: a container image with crucible-batch."
        ),
    ] = None
    allow_command: AllowCommand = False

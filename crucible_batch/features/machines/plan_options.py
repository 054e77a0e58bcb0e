"""The options of ``plan`` that write the files for a batch system."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions

EXAMPLES = (
    "crucible-batch plan spring.yaml --shards 8 --export slurm -o spring",
    "crucible-batch plan spring.yaml --shards 8 --export kubernetes --image batch:1 -o spring",
)
HELP = """
    With --export, -o names a folder: the plan and the files that run its shards
    on Slurm, Kubernetes or AWS Batch are written there, and the commands that
    submit and merge them are shown.
"""


class BatchSystem(enum.StrEnum):
    """What can be exported for, each with a function in ``exports.py``."""

    SLURM = "slurm"
    KUBERNETES = "kubernetes"
    AWS_BATCH = "aws-batch"


@dataclass(frozen=True, slots=True)
class BatchSystemOptions(FeatureOptions):
    """The batch system that files are written for, and what they name of it."""

    export: Annotated[
        BatchSystem | None,
        typer.Option(
            "--export",
            metavar="SYSTEM",
            help="With --shards and -o DIR: also write the files there that run the shards on"
            " slurm, kubernetes or aws-batch.",
            rich_help_panel=JOBS,
        ),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="IMAGE",
            help="kubernetes: a container image with crucible-batch.",
            rich_help_panel=JOBS,
        ),
    ] = None
    job_queue: Annotated[
        str | None,
        typer.Option(
            "--job-queue",
            metavar="NAME",
            help="aws-batch: the queue of the jobs.",
            rich_help_panel=JOBS,
        ),
    ] = None
    job_definition: Annotated[
        str | None,
        typer.Option(
            "--job-definition",
            metavar="NAME",
            help="aws-batch: a job definition with an image of crucible-batch and the API key.",
            rich_help_panel=JOBS,
        ),
    ] = None


Options = BatchSystemOptions

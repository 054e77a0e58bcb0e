"""The option of ``run`` that chooses a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions

EXAMPLES = ("crucible-batch run plan.json --shard 3/8",)
HELP = ""


@dataclass(frozen=True, slots=True)
class ShardChoice(FeatureOptions):
    """The shard of a divided plan to run; None: that of the environment."""

    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Run this shard of a divided plan."
            "  \\[default: CRUCIBLE_BATCH_SHARD, else the index of the array job]",
            rich_help_panel=JOBS,
        ),
    ] = None

    @property
    def title(self) -> str:
        return "" if self.shard is None else f" · shard {self.shard}"

    @property
    def repeated(self) -> Mapping[str, str]:
        return {} if self.shard is None else {"--shard": self.shard}


Options = ShardChoice

"""Where the run of a saved plan is: in a directory, or in an object store with a local directory for its journal."""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.api.state_location import state_directory_of
from crucible_batch.domain.sharding import SHARDS_FOLDER, ShardId
from crucible_batch.errors import UserError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import SavedPlan


def plan_outputs_url(plan: SavedPlan) -> ObjectUrl | None:
    """Return the URL of the outputs of a plan's run; None if they are in a directory."""
    return ObjectUrl.parse(plan.head.options.run_dir)


def main_location(plan: SavedPlan) -> str | Path:
    """Return the run directory of a plan, or its URL, as a command takes it."""
    url = plan_outputs_url(plan)
    return main_directory(plan) if url is None else str(url)


def main_directory(plan: SavedPlan) -> Path:
    """Return the run directory of a plan, which is the main one if it is divided into shards.

    If the outputs are in an object store, it is the local directory of the run's journal.
    """
    url = plan_outputs_url(plan)
    if url is not None:
        return state_directory_of(url)
    return relative_to_here(Path(os.path.realpath(plan.path)).parent / plan.head.options.run_dir)


def shard_directory(plan: SavedPlan, shard: ShardId) -> Path:
    """Return the run directory of a shard, unless another one is chosen."""
    return main_directory(plan) / SHARDS_FOLDER / plan.digest[:8] / shard.folder


def check_shard_location(plan: SavedPlan, out_dir: Path | None) -> None:
    """Raise ``UserError`` if the outputs of a shard would be elsewhere than those of its run."""
    if out_dir is not None and (url := ObjectUrl.parse(out_dir)) is not None:
        raise UserError(
            f"{plan.path} is of a run in {main_location(plan)}, and a shard can't be run in {url}",
            hint="omit --out-dir, or make the plan with it: crucible-batch plan MANIFEST --shards N --out-dir URL",
        )


def relative_to_here(path: Path) -> Path:
    """Return the path relative to the working directory if it is below it; otherwise unchanged but normalised."""
    relative = os.path.relpath(path)
    return Path(os.path.normpath(path) if relative.startswith(os.pardir) else relative)

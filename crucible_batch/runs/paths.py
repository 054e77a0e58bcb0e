"""Where a run has its journal and its shards, by the URL of its outputs or by its saved plan.

Reads no journal.
"""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.core.sharding import SHARDS_FOLDER, ShardId
from crucible_batch.errors import UserError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import state_directory

SHARDS = ".crucible/shards"
"""The prefix of all plans and logs of shards: no output can be there."""


def plan_key(digest: str) -> str:
    """Return the key of a divided plan among the objects of its run."""
    return f"{SHARDS}/{digest[:8]}/plan.json"


def state_directory_of(url: ObjectUrl) -> Path:
    """Return the local directory of a run's journal.

    Raises ``UserError`` if the environment has no home directory.
    """
    return _state_directory(url) / "runs" / url.digest


def coordinator_directory(url: ObjectUrl) -> Path:
    """Return what the coordinator of a run on many machines locks on its own one.

    Raises as ``state_directory_of``.
    """
    return _state_directory(url) / "coordinators" / url.digest


def _state_directory(url: ObjectUrl) -> Path:
    state = state_directory(os.environ)
    if state is None:
        raise UserError(
            f"a run at {url} needs a local directory for its journal, "
            "and neither XDG_STATE_HOME nor HOME is set",
            hint="set XDG_STATE_HOME to an absolute path on a disk that is kept; nothing was spent",
        )
    return state


def plan_outputs_url(plan: SavedPlan) -> ObjectUrl | None:
    """Return the URL of the outputs of a plan's run; None if they are in a directory."""
    return ObjectUrl.parse(plan.head.options.run_dir)


def main_location(plan: SavedPlan) -> str | Path:
    """Return the run directory of a plan, or its URL, as a command takes it."""
    url = plan_outputs_url(plan)
    if url is None:
        return main_directory(plan)
    return str(url)


def main_directory(plan: SavedPlan) -> Path:
    """Return the run directory of a plan, which is the main one if it is divided into shards.

    If the outputs are in an object store, it is the local directory of the run's journal.
    """
    url = plan_outputs_url(plan)
    if url is not None:
        return state_directory_of(url)
    if plan.main is not None:
        return plan.main
    return relative_to_here(Path(os.path.realpath(plan.path)).parent / plan.head.options.run_dir)


def plan_folder(main: Path, plan_digest: str) -> Path:
    """Return the folder of a divided plan in its main run directory: its shards have their
    directories there.
    """
    return main / SHARDS_FOLDER / plan_digest[:8]


def logs_at(plan: SavedPlan) -> ObjectUrl | None:
    """Return where the logs of a plan's shards are; None if this machine doesn't see them.

    That is the URL of its outputs, or else the main run directory.
    """
    url, main = plan_outputs_url(plan), main_directory(plan)
    if url is None and (main / plan_key(plan.digest)).is_file():
        url = ObjectUrl.of_directory(main)
    return url


def shard_directory(plan: SavedPlan, shard: ShardId) -> Path:
    """Return the run directory of a shard, unless another one is chosen.

    It is on this machine, though the main run directory may be shared with others.
    """
    url, main = logs_at(plan), main_directory(plan)
    if url is not None:
        main = state_directory_of(url)
    return plan_folder(main, plan.digest) / shard.folder


def relative_to_here(path: Path) -> Path:
    """Return the path relative to the working directory if it is below it; otherwise unchanged but
    normalised."""
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir):
        return Path(os.path.normpath(path))
    return Path(relative)

"""Which shard of a divided plan a run is of: the given one, else that of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from crucible_batch.core.sharding import SHARD_VARIABLE, ShardId, shard_from
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.journal import Journal
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.paths import logs_at, main_directory, main_location, shard_directory
from crucible_batch.runs.request import RunRequest
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command


def chosen(
    given: RunRequest, followed: RunRequest, environ: Mapping[str, str] | None
) -> RunRequest:
    """Return what is followed, with the shard that the run is of and its directory.

    It is unchanged if there is no shard. Raises ``UserError`` if none is chosen of a divided plan,
    or one that it doesn't have, and ``RunDirectoryError`` if this machine doesn't see the main run
    directory and no other one is given.
    """
    if environ is None:
        return followed
    shard, plan = parse_shard(given.of(ShardChoice).shard), followed.plan
    if plan is None and shard is not None and not Path(given.manifest).exists():
        raise UserError(
            f"{given.manifest} can't be read: no such file or directory",
            hint="give the file of the divided plan, which crucible-batch plan MANIFEST --shards N"
            " -o made",
        )
    shard = choose_shard(shard, plan, environ)
    if plan is None or shard is None:
        return followed
    out_dir = given.out_dir
    check_shard_location(plan, out_dir)
    if out_dir is None:
        _refuse_unseen(plan, shard)
        out_dir = shard_directory(plan, shard)
    return replace(followed.having(ShardChoice(str(shard))), out_dir=out_dir)


def _refuse_unseen(plan: SavedPlan, shard: ShardId) -> None:
    """Raise ``RunDirectoryError`` if the main run directory is not on this machine.

    It may be shared, and not be mounted here: then another process may run the shard.
    """
    main = main_directory(plan)
    if logs_at(plan) is None and not Journal.exists(main):
        raise RunDirectoryError(
            f"{main}, in which {plan.path} was divided, is not on this machine: whether another one"
            f" runs shard {shard} is not known",
            hint="mount it and run the same command again; or, if the machines share no directory,"
            " choose one for the shard, which is merged at the end: --out-dir DIR",
        )


def shard_of(request: RunRequest) -> tuple[SavedPlan, ShardId]:
    """Return the plan that a request follows, and the chosen shard."""
    plan, shard = request.plan, parse_shard(request.of(ShardChoice).shard)
    assert plan is not None
    assert shard is not None
    return plan, shard


def parse_shard(shard: str | None) -> ShardId | None:
    """Return a shard such as "3/8". Raises ``UserError`` if it can't be parsed."""
    if shard is None:
        return None
    try:
        return ShardId.parse(shard)
    except ValueError as error:
        raise UserError(f"shard: {error}", hint="correct the value; nothing was started") from None


def choose_shard(
    given: ShardId | None, plan: SavedPlan | None, environ: Mapping[str, str]
) -> ShardId | None:
    """Return the shard to run: the given one, else that of the environment.

    ``plan`` is None for a manifest. Raises ``UserError`` if there is none in a divided plan, or one
    that the plan doesn't have.
    """
    count, name = 0, "a manifest"
    if plan is not None:
        count, name = len(plan.head.shards), str(plan.path)
    try:
        shard = given or shard_from(environ, count)
    except ValueError as error:
        raise UserError(
            str(error), hint="nothing was started; correct the variable, or give --shard"
        ) from None
    if shard is not None and not count:
        raise UserError(
            f"shard {shard} was chosen, but {name} is not divided into shards",
            hint="divide it: crucible-batch plan MANIFEST --budget N --shards N -o plan.json",
        )
    if shard is None and count:
        command = shell_command("run", name, "--shard", f"1/{count}")
        raise UserError(
            f"{name} is divided into {count} shards, and none was chosen",
            hint=f"choose one: {command}; or set {SHARD_VARIABLE}, or the array variable of Slurm,"
            " Kubernetes or AWS Batch",
        )
    if shard is not None and shard.count != count:
        raise UserError(
            f"shard {shard} is not one of {name}, which has {count} shards",
            hint=f"choose one from 1/{count} to {count}/{count}",
        )
    return shard


def check_shard_location(plan: SavedPlan, out_dir: Path | None) -> None:
    """Raise ``UserError`` if the outputs of a shard would be elsewhere than those of its run."""
    if out_dir is not None and ObjectUrl.parse(out_dir) is not None:
        raise UserError(
            f"{plan.path} is of a run in {main_location(plan)}, and a shard can't be run in"
            f" {ObjectUrl.parse(out_dir)}",
            hint="omit --out-dir, or make the plan with it: crucible-batch plan MANIFEST --shards N"
            " --out-dir URL",
        )

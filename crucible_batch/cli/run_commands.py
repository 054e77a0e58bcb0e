"""The commands that create images: ``run``, ``plan``, ``validate``, ``pick``, ``merge``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli import run_options as run_opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.core.run_options import ManifestOptions, RunOptions
from crucible_batch.errors import ExitCode

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch run spring.yaml --budget 50",
    "crucible-batch run spring.yaml --retry-failed",
    "crucible-batch run plan.json",
    "crucible-batch run plan.json --shard 3/8",
    "crucible-batch run spring.yaml --json | jq -c 'select(.type == \"result\")'",
    codes=[code for code in ExitCode if code is not ExitCode.DIFFERENCE],
    everyday=run_opt.EVERYDAY,
)
def run(
    output: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    dry_run: run_opt.DryRun = False,
    target: opt.TargetOptions,
    only: opt.Only = None,
    shard: run_opt.Shard = None,
    var: opt.Var = None,
    options: RunOptions,
    schedule: run_opt.ScheduleOptions,
    gateway: opt.GatewayOptions,
    storage_host: opt.StorageHost = None,
    display: opt.Display = opt.DisplayMode.AUTO,
    logs: run_opt.LogOptions,
) -> None:
    """Run a manifest or a saved plan, or resume an earlier run.

    Run the same command again to resume; no job is paid for twice.
    A budget, here or in the manifest, is the consent to spend. Without one,
    you are asked; --yes skips the question.
    A saved plan contains its options. If its inputs have changed since it was
    made, the changes are shown and nothing is spent.
    """
    from crucible_batch.cli.requests import manifest_request, plan_request
    from crucible_batch.runs.request import parse_shard

    if not dry_run and (logs.log_file or logs.log_format):
        from crucible_batch.cli.logs.run_log import open_log

        open_log(output, manifest, logs)
    request = plan_request(manifest_request(manifest, var, options), budget, target, only)
    request = replace(request, shard=parse_shard(shard))
    settings = gateway.settings(storage_host)
    if dry_run:
        from crucible_batch.cli.plan import show_what_a_run_would_do

        show_what_a_run_would_do(output, request, settings)
    else:
        from crucible_batch.features.schedule.catching_up import run_scheduled

        run_scheduled(output, request, settings, display, schedule)


@command(
    "crucible-batch plan spring.yaml --budget 50",
    "crucible-batch plan spring.yaml --only hero -v",
    "crucible-batch plan spring.yaml --budget 50 -o plan.json",
    "crucible-batch plan spring.yaml --budget 50 --shards 8 -o plan.json",
    "crucible-batch plan spring.yaml --budget 50 --shards 8 --probe -o plan.json",
    everyday=run_opt.EVERYDAY_OF_PLAN,
)
def plan(
    output: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    target: opt.TargetOptions,
    only: opt.Only = None,
    shards: run_opt.Shards = None,
    probe: run_opt.Probe = False,
    var: opt.Var = None,
    options: ManifestOptions,
    gateway: opt.GatewayOptions,
    save_to: opt.SaveTo = None,
    force: opt.Force = False,
) -> None:
    """Show what a run would do and what it would cost.

    Spends nothing, uploads nothing, and writes only the file of -o. The exit
    code is 0 for any valid plan, even if it exceeds the budget.
    The output is a diff against the directory's last plan:
    + new, ~ changed, > to collect, ! failed, = done, - gone.
    With -v, each job is listed with the reason why it would run or not.
    A saved plan is checked for whether it is still valid.
    With --shards, the budget is divided among the shards, and set aside for
    them in the run directory. --probe spends credits: shards then know each
    price, and upload no image of an affordable job. If it is not completed,
    there is no plan, and the exit code is that of run.
    """
    from crucible_batch.cli.plan import probe_and_show, show_what_a_run_would_do
    from crucible_batch.cli.requests import manifest_request, plan_request

    request = plan_request(manifest_request(manifest, var, options), budget, target, only)
    request = replace(request, shards=shards)
    settings = gateway.settings()
    if probe and not probe_and_show(output, request, settings, save_to, force=force):
        return
    show_what_a_run_would_do(output, request, settings, save_to=save_to, force=force)


@command("crucible-batch validate manifests/*.yaml")
def validate(
    output: CommandOutput,
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST", help="The files to check.", show_default=False)
    ],
    *,
    var: opt.Var = None,
    options: ManifestOptions,
) -> None:
    """Check manifests, without a gateway or an API key.

    Every problem is shown with its position. The names and values of
    parameters are checked against the gateway's workflows by plan and run.
    """
    from crucible_batch.cli.requests import manifest_request
    from crucible_batch.cli.validate import validate_all

    requests = [manifest_request(manifest, var, options) for manifest in manifests]
    validate_all(output, requests)


@command(
    "crucible-batch pick outputs/herons/default draft-3 draft-7",
    "crucible-batch pick outputs/herons/default draft-3/1 --remove",
)
def pick(
    output: CommandOutput,
    run_dir: opt.RunDir,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="A job, or NAME/INDEX for one of its outputs.", show_default=False),
    ],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the names from the picks.")] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="The picks file, if the manifest has several for a name."),
    ] = None,
) -> None:
    """Choose the outputs from which the next stage of a run is made.

    Writes the picks file that `pick:` names in the manifest; you
    can also edit that file yourself. The next run of the manifest makes the
    picked jobs. Needs no API key, and buys nothing.
    """
    from crucible_batch.features.stages.terminal import pick_and_show

    pick_and_show(output, run_dir, names, remove=remove, file=file)


@command(
    "crucible-batch merge outputs/spring/default",
    "crucible-batch merge outputs/spring/default --abandon 3",
    "crucible-batch merge /scratch/1 /scratch/2 --out-dir outputs/spring/default",
)
def merge(
    output: CommandOutput,
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR",
            help="The main run directory, for all shards in it, or the directories of the shards.",
            show_default=False,
        ),
    ],
    *,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out-dir", metavar="DIR", help="The main run directory, if the shards' directories are not in it."
        ),
    ] = None,
    abandon: Annotated[
        list[str] | None,
        typer.Option(
            "--abandon",
            metavar="SHARD",
            help="A missing shard that did not run and never will, or all: its credits are returned. Repeatable.",
        ),
    ] = None,
    no_html: opt.NoHtml = False,
) -> None:
    """Merge the shards of a divided plan into one run directory and report.

    Needs no API key and no network. Outputs are linked or copied, and
    checked; no other file is replaced. What the shards did not spend is
    returned to the budget, and what is left is bought by the next run of the
    manifest. A merge that was stopped is finished by the same command.
    The exit code is that of the worst shard, as of a run.
    """
    from crucible_batch.features.shards.terminal import merge_and_show, read_abandoned

    merge_and_show(output, run_dirs, out_dir, read_abandoned(abandon or []), html=not no_html)

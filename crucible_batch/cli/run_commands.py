"""The commands that create images: ``run``, ``plan``, ``validate``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli import run_options as run_opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.core.run_options import ManifestOptions, PlanningOptions, RunOptions
from crucible_batch.errors import ExitCode
from crucible_batch.features import found

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch run spring.yaml --budget 50",
    "crucible-batch run spring.yaml --retry-failed",
    "crucible-batch run plan.json",
    "crucible-batch run spring.yaml --json | jq -c 'select(.type == \"result\")'",
    codes=[code for code in ExitCode if code is not ExitCode.DIFFERENCE],
    everyday=run_opt.EVERYDAY,
)
def run(
    output: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    planning: PlanningOptions,
    dry_run: run_opt.DryRun = False,
    options: RunOptions,
    gateway: opt.GatewayOptions,
    storage_host: opt.StorageHost = None,
    display: opt.Display = opt.DisplayMode.AUTO,
    logs: run_opt.LogOptions,
    features: opt.RunFeatures,
) -> None:
    """Run a manifest or a saved plan, or resume an earlier run.

    Run the same command again to resume; no job is paid for twice.
    A budget, here or in the manifest, is the consent to spend. Without one,
    you are asked; --yes skips the question.
    A saved plan contains its options. If its inputs have changed since it was
    made, the changes are shown and nothing is spent.
    """
    from crucible_batch.cli.requests import plan_request

    if not dry_run and (logs.log_file or logs.log_format):
        from crucible_batch.cli.logs.run_log import open_log

        open_log(output, manifest, logs)
    request = plan_request(manifest, planning, options, features)
    settings = gateway.settings(storage_host)
    if dry_run:
        from crucible_batch.cli.plan import show_what_a_run_would_do

        show_what_a_run_would_do(output, request, settings)
    else:
        from crucible_batch.cli.single_run import run_once

        feature = next(found("run_command"), None)
        run_requested = run_once if feature is None else feature.run
        run_requested(output, request, settings, display)


@command(
    "crucible-batch plan spring.yaml --budget 50",
    "crucible-batch plan spring.yaml --only hero -v",
    "crucible-batch plan spring.yaml --budget 50 -o plan.json",
    everyday=run_opt.EVERYDAY_OF_PLAN,
)
def plan(
    output: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    planning: PlanningOptions,
    options: ManifestOptions,
    gateway: opt.GatewayOptions,
    save_to: opt.SaveTo = None,
    force: opt.Force = False,
    features: opt.PlanFeatures,
) -> None:
    """Show what a run would do and what it would cost.

    Spends nothing, uploads nothing, and writes only the file of -o. The exit
    code is 0 for any valid plan, even if it exceeds the budget.
    The output is a diff against the directory's last plan:
    + new, ~ changed, > to collect, ! failed, = done, - gone.
    With -v, each job is listed with the reason why it would run or not.
    A saved plan is checked for whether it is still valid.
    """
    from crucible_batch.cli.plan import show_what_a_run_would_do
    from crucible_batch.cli.requests import plan_request

    request = plan_request(manifest, planning, options, features)
    settings = gateway.settings()
    for feature in found("plan_command"):
        if not feature.prepared(output, request, settings, save_to, force=force):
            return  # the feature has shown why there can't be a plan
    show_what_a_run_would_do(output, request, settings, save_to=save_to, force=force)


@command("crucible-batch validate manifests/*.yaml")
def validate(
    output: CommandOutput,
    manifests: Annotated[
        list[Path],
        typer.Argument(metavar="MANIFEST", help="The files to check.", show_default=False),
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

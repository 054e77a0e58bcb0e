"""The commands that work on a manifest: ``run``, ``plan``, ``validate``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.cluster_options import Cluster, WaveShards
from crucible_batch.cli.logs.options import LogOptions
from crucible_batch.cli.notify_options import NotifyOptions
from crucible_batch.cli.shard_options import Probe, Shard, Shards
from crucible_batch.cli.telemetry_options import TelemetryOptions
from crucible_batch.errors import UserError

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch run spring.yaml --budget 50",
    "crucible-batch run spring.yaml --retry-failed",
    "crucible-batch run plan.json",
    "crucible-batch run plan.json --shard 3/8",
    "crucible-batch run spring.yaml --budget 50 --cluster env",
    "crucible-batch run spring.yaml --json | jq -c 'select(.type == \"result\")'",
    codes=(0, 1, 2, 3, 4, 5, 6, 130, 143),
)
def run(
    answer: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    spending: opt.SpendingOptions,
    target: opt.TargetOptions,
    recover: opt.Recover = False,
    only: opt.Only = None,
    shard: Shard = None,
    cluster: Cluster = None,
    shards: WaveShards = None,
    reading: opt.ManifestOptions,
    pace: opt.PaceOptions,
    schedule: opt.ScheduleOptions,
    gateway: opt.GatewayOptions,
    storage_host: opt.StorageHost = None,
    saving: opt.SavingOptions,
    telemetry: TelemetryOptions,
    notifying: NotifyOptions,
    display: opt.Display = opt.DisplayMode.AUTO,
    logs: LogOptions,
) -> None:
    """Run a manifest or a saved plan, or resume an earlier run.

    Run the same command again to resume; no job is paid for twice.
    A budget, here or in the manifest, is the consent to spend. Without one,
    you are asked; --yes skips the question.
    A saved plan contains its options. If its inputs have changed since it was
    made, the changes are shown and nothing is spent.
    """
    from crucible_batch.api import read_shard
    from crucible_batch.cli.requests import plan_request, run_request

    if not spending.dry_run and (logs.log_file is not None or logs.log_format is not None):
        from crucible_batch.cli.logs.run_log import open_log

        open_log(answer, manifest, logs)
    planned = plan_request(manifest, spending.budget, target, only, reading)
    planned = replace(planned, shard=read_shard(shard))
    request = run_request(planned, spending, pace, saving, telemetry=telemetry, notifying=notifying, recover=recover)
    settings = gateway.settings(storage_host)
    if spending.dry_run:
        from crucible_batch.cli.run_session import show_what_a_run_would_do

        show_what_a_run_would_do(answer, request, settings)
    elif cluster is not None:
        from crucible_batch.cli.cluster_run import run_on_cluster_and_tell

        request = replace(request, shards=shards)
        run_on_cluster_and_tell(answer, request, settings, cluster, schedule=schedule, display=display)
    elif shards is not None:
        raise UserError("--shards needs --cluster", hint="or divide a plan: crucible-batch plan MANIFEST --shards N")
    else:
        from crucible_batch.cli.scheduled_runs import run_scheduled

        run_scheduled(answer, request, settings, display, schedule)


@command(
    "crucible-batch plan spring.yaml --budget 50",
    "crucible-batch plan spring.yaml --only hero -v",
    "crucible-batch plan spring.yaml --budget 50 -o plan.json",
    "crucible-batch plan spring.yaml --budget 50 --shards 8 -o plan.json",
    "crucible-batch plan spring.yaml --budget 50 --shards 8 --probe -o plan.json",
    codes=(0, 2, 3, 4, 5, 6, 130, 143),
)
def plan(
    answer: CommandOutput,
    *,
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    target: opt.TargetOptions,
    only: opt.Only = None,
    shards: Shards = None,
    probe: Probe = False,
    reading: opt.ManifestOptions,
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
    from crucible_batch.cli.requests import plan_request
    from crucible_batch.cli.run_session import show_what_a_run_would_do

    request = replace(plan_request(manifest, budget, target, only, reading), shards=shards)
    settings = gateway.settings()
    if probe:
        from crucible_batch.cli.probe import probe_and_tell

        if not probe_and_tell(answer, request, settings, save_to, force=force):
            return
    show_what_a_run_would_do(answer, request, settings, save_to=save_to, force=force)


@command("crucible-batch validate manifests/*.yaml", "crucible-batch validate --live spring.yaml", codes=(0, 2, 3, 5))
def validate(
    answer: CommandOutput,
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST", help="The files to check.", show_default=False)
    ],
    *,
    live: Annotated[bool, typer.Option("--live", help="Check parameters against the gateway's workflows.")] = False,
    reading: opt.ManifestOptions,
    gateway: opt.GatewayOptions,
) -> None:
    """Check manifests, without a gateway or an API key.

    Every problem is shown with its position.
    With --live, the names and values of parameters are also checked against
    the gateway's workflows, as plan and run do.
    """
    from crucible_batch.cli.requests import manifest_request
    from crucible_batch.cli.validate import validate_all

    requests = [manifest_request(manifest, reading) for manifest in manifests]
    validate_all(answer, requests, gateway.settings() if live else None)

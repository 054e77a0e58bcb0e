"""The commands that work on a manifest: ``run``, ``plan``, ``validate``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import answering
from crucible_batch.cli.options import epilog

commands = typer.Typer()
_PANEL = "Make images"


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch run spring.yaml --budget 50",
        "crucible-batch run spring.yaml --retry-failed",
        "crucible-batch run plan.json",
        "crucible-batch run spring.yaml --json | jq -c 'select(.type == \"result\")'",
        codes=(0, 1, 2, 3, 4, 5, 6, 130, 143),
    ),
)
@opt.grouped
def run(
    *,
    manifest: opt.ManifestOrPlan,
    spending: opt.SpendingOptions,
    target: opt.TargetOptions,
    recover: opt.Recover = False,
    only: opt.Only = None,
    reading: opt.ManifestOptions,
    pace: opt.PaceOptions,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    storage_host: opt.StorageHost = None,
    saving: opt.SavingOptions,
    display: opt.Display = opt.DisplayMode.AUTO,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Run a manifest or a saved plan, or go on where an earlier run stopped.

    The same command again resumes, and pays for nothing twice.
    A budget, here or in the manifest, is the consent to spend. Without one you are asked, or say --yes.
    A saved plan needs no options again; if anything moved since it was made, that is named and nothing is spent.
    """
    with answering("run", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.api import current_settings
        from crucible_batch.cli.requests import plan_request, run_request
        from crucible_batch.cli.run_session import run_and_tell, show_what_a_run_would_do

        planned = plan_request(manifest, spending.budget, target, only, reading)
        request = run_request(planned, spending, pace, saving, recover=recover)
        settings = current_settings(base_url=api_base, proxy=proxy, storage_hosts=tuple(storage_host or ()))
        if spending.dry_run:
            show_what_a_run_would_do(answer, request, settings)
        else:
            run_and_tell(answer, request, settings, display)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch plan spring.yaml --budget 50",
        "crucible-batch plan spring.yaml --only hero -v",
        "crucible-batch plan spring.yaml --budget 50 -o plan.json",
        codes=(0, 2, 3, 5),
    ),
)
@opt.grouped
def plan(
    *,
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    target: opt.TargetOptions,
    only: opt.Only = None,
    reading: opt.ManifestOptions,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    save_to: opt.SaveTo = None,
    force: opt.Force = False,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Say what a run would do and cost.

    Spends nothing, uploads nothing, writes nothing but the file of -o. Exits 0 for any valid plan, one over budget too.
    Reads like a diff against the directory's last plan: + new, ~ changed, > to collect, ! failed, = done, - gone.
    With -v it says of each job why it would be run, or why not.
    Given a saved plan, it says whether that still holds.
    """
    with answering("plan", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.api import current_settings
        from crucible_batch.cli.requests import plan_request
        from crucible_batch.cli.run_session import show_what_a_run_would_do

        request = plan_request(manifest, budget, target, only, reading)
        settings = current_settings(base_url=api_base, proxy=proxy)
        show_what_a_run_would_do(answer, request, settings, save_to=save_to, force=force)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch validate manifests/*.yaml", codes=(0, 2)),
)
@opt.grouped
def validate(
    *,
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="The files to check.", show_default=False)
    ],
    reading: opt.ManifestOptions,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check manifests, without a gateway or a key.

    Every problem is shown with its place.
    Parameters are checked against their workflows by plan and run, which ask the gateway.
    """
    with answering("validate", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.requests import manifest_request
        from crucible_batch.cli.validate import validate_all

        validate_all(answer, [manifest_request(manifest, reading) for manifest in manifests])

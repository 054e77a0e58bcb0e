"""The commands that work on a manifest: ``run``, ``plan``, ``validate``."""

# ruff: noqa: PLC0415, PLR0917 - a command imports what it needs when it runs; Typer passes by name

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
def run(
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    yes: opt.Yes = False,
    dry_run: opt.DryRun = False,
    out_dir: opt.OutDir = None,
    run_id: opt.RunId = None,
    retry_failed: opt.RetryFailed = False,
    recover: opt.Recover = False,
    resubmit_unknown: opt.ResubmitUnknown = False,
    same_account: opt.SameAccount = False,
    only: opt.Only = None,
    var: opt.Var = None,
    allow_outside: opt.AllowOutside = False,
    max_jobs: opt.MaxJobs = 100_000,
    max_manifest_size: opt.MaxManifestSize = None,
    concurrency: opt.Concurrency = None,
    polls_per_second: opt.PollsPerSecond = None,
    job_timeout: opt.JobTimeout = None,
    deadline: opt.Deadline = None,
    key_ttl: opt.KeyTtl = None,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    storage_host: opt.StorageHost = None,
    max_output_size: opt.MaxOutputSize = None,
    max_pixels: opt.MaxPixels = None,
    no_html: opt.NoHtml = False,
    no_sidecars: opt.NoSidecars = False,
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
        from crucible_batch.api import DEFAULT_MAX_MANIFEST_BYTES, MAX_BYTES, MAX_PIXELS
        from crucible_batch.cli.run_session import (
            DEFAULT_JOB_TIMEOUT_S,
            DEFAULT_KEY_TTL_S,
            RunArguments,
            run_and_tell,
            show_what_a_run_would_do,
        )

        wanted = RunArguments(
            manifest=manifest,
            out_dir=out_dir,
            run_id=run_id,
            budget=budget,
            yes=yes,
            concurrency=concurrency or None,
            polls_per_s=polls_per_second,
            retry_failed=retry_failed,
            recover=recover,
            resubmit_unknown=resubmit_unknown,
            same_account=same_account,
            only=tuple(only or ()),
            variables=opt.read_variables(var or ()),
            allow_outside=allow_outside,
            max_jobs=max_jobs,
            max_manifest_bytes=max_manifest_size or DEFAULT_MAX_MANIFEST_BYTES,
            job_timeout_s=job_timeout or DEFAULT_JOB_TIMEOUT_S,
            deadline_s=deadline,
            key_ttl_s=key_ttl or DEFAULT_KEY_TTL_S,
            api_base=api_base,
            proxy=proxy,
            storage_hosts=tuple(storage_host or ()),
            max_output_bytes=max_output_size or MAX_BYTES,
            max_pixels=max_pixels or MAX_PIXELS,
            html=not no_html,
            sidecars=not no_sidecars,
            display=display,
        )
        if dry_run:
            show_what_a_run_would_do(answer, wanted)
        else:
            run_and_tell(answer, wanted)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch plan spring.yaml --budget 50",
        "crucible-batch plan spring.yaml --only hero -v",
        "crucible-batch plan spring.yaml --budget 50 -o plan.json",
        codes=(0, 2, 3, 5),
    ),
)
def plan(
    manifest: opt.ManifestOrPlan,
    budget: opt.Budget = None,
    out_dir: opt.OutDir = None,
    run_id: opt.RunId = None,
    retry_failed: opt.RetryFailed = False,
    only: opt.Only = None,
    var: opt.Var = None,
    allow_outside: opt.AllowOutside = False,
    max_jobs: opt.MaxJobs = 100_000,
    max_manifest_size: opt.MaxManifestSize = None,
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
        from crucible_batch.api import DEFAULT_MAX_MANIFEST_BYTES
        from crucible_batch.cli.run_session import RunArguments, show_what_a_run_would_do

        wanted = RunArguments(
            manifest=manifest,
            out_dir=out_dir,
            run_id=run_id,
            budget=budget,
            retry_failed=retry_failed,
            only=tuple(only or ()),
            variables=opt.read_variables(var or ()),
            allow_outside=allow_outside,
            max_jobs=max_jobs,
            max_manifest_bytes=max_manifest_size or DEFAULT_MAX_MANIFEST_BYTES,
            api_base=api_base,
            proxy=proxy,
        )
        show_what_a_run_would_do(answer, wanted, save_to=save_to, force=force)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch validate manifests/*.yaml", codes=(0, 2)),
)
def validate(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="The files to check.", show_default=False)
    ],
    var: opt.Var = None,
    allow_outside: opt.AllowOutside = False,
    max_jobs: opt.MaxJobs = 100_000,
    max_manifest_size: opt.MaxManifestSize = None,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check manifests, without a gateway or a key.

    Every problem is shown with its place.
    Parameters are checked against their workflows by plan and run, which ask the gateway.
    """
    with answering("validate", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.api import DEFAULT_MAX_MANIFEST_BYTES
        from crucible_batch.cli.validate import validate_all

        validate_all(
            answer,
            manifests,
            variables=opt.read_variables(var or ()),
            allow_outside=allow_outside,
            max_jobs=max_jobs,
            max_manifest_bytes=max_manifest_size or DEFAULT_MAX_MANIFEST_BYTES,
        )

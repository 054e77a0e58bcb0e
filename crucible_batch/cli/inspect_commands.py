"""The commands that read: ``status``, ``report``; the account, schemas and error codes."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from dataclasses import asdict, field, make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.errors import UserError
from crucible_batch.features import found
from crucible_batch.shell_command import DEFAULT_DIRECTORY

commands = typer.Typer()
command = partial(opt.command, commands, "Inspect")


@command(
    "crucible-batch status",
    "crucible-batch status outputs/spring/default",
    "crucible-batch status /mnt/outputs --limit 20",
    output="json verbose",
)
def status(
    output: CommandOutput,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR",
            help="A run's directory or URL, or a directory with runs up to two levels below it.",
        ),
    ] = DEFAULT_DIRECTORY,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, max=10_000, help="List at most N runs, the newest."
        ),
    ] = 100,
) -> None:
    """List all runs, or show the progress of one, or how it ended.

    In the list, running runs come first, then the newest. The age is the time
    since a run ended; of a run that is running or was killed, since it began.
    Works while runs are running and after they were killed. No request is
    sent to the gateway, and nothing is changed.
    """
    from crucible_batch.cli.runs import show_run_or_runs

    show_run_or_runs(output, directory, limit=limit)


@command("crucible-batch report outputs/spring/default", output="json verbose")
def report(
    output: CommandOutput,
    run_dir: opt.RunDir,
    *,
    no_html: opt.NoHtml = False,
    features: opt.ReportFeatures,
) -> None:
    """Rebuild a run's report.json and report.html from its journal."""
    from crucible_batch.cli.status import write_report_and_show
    from crucible_batch.runs.run_journal import local_directory

    write_report_and_show(output, local_directory(run_dir), html=not no_html, features=features)


@command("crucible-batch credits", output="json verbose")
def credits(output: CommandOutput, gateway: opt.GatewayOptions) -> None:
    """Show the account's credits and its latest transactions."""
    from crucible_batch.cli.account import show_credits

    show_credits(output, gateway.settings())


@command("crucible-batch workflows", "crucible-batch workflows zimage-base", output="json verbose")
def workflows(
    output: CommandOutput,
    gateway: opt.GatewayOptions,
    workflow_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="Show the parameters of this workflow.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the gateway's workflows, or one workflow's parameters."""
    from crucible_batch.cli.account import show_workflow, show_workflows

    if workflow_id is None:
        show_workflows(output, gateway.settings())
    else:
        show_workflow(output, workflow_id, gateway.settings())


@command(
    "crucible-batch assets",
    "crucible-batch assets outputs/spring/default --delete",
)
def assets(
    output: CommandOutput,
    run_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN_DIR",
            help="Show which images of this run can be deleted.",
            show_default=False,
        ),
    ] = None,
    *,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete",
            help="Delete the images that RUN_DIR uploaded and that no job needs any more.",
        ),
    ] = False,
    found: Annotated[
        bool,
        typer.Option("--found", help="Include images that the run used and another run uploaded."),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Delete without asking; required if there is no terminal."
        ),
    ] = False,
    gateway: opt.GatewayOptions,
) -> None:
    """List the account's input images at the gateway, or delete those of a run for their rebate.

    Images that an unfinished job needs are kept, also those of the run
    directories beside this one. Local files are not touched. A later job that
    needs a deleted image pays for its upload again.
    Keep the run directory, or at least its receipts.jsonl: without them, the
    gateway may refuse to return the outputs of jobs with input images again.
    """
    if run_dir is None and (delete or found):
        raise UserError("no run is named", hint="crucible-batch assets RUN_DIR --delete")
    if run_dir is None:
        from crucible_batch.cli.account import show_assets

        show_assets(output, gateway.settings())
    else:
        from crucible_batch.cli.assets import delete_and_show
        from crucible_batch.runs.run_journal import local_directory

        settings = gateway.settings()
        delete_and_show(
            output, local_directory(run_dir), settings, found=found, dry_run=not delete, yes=yes
        )


def _schema_option(name: str, text: str) -> tuple[str, Any, Any]:
    return name, Annotated[bool, typer.Option(f"--{name}", help=text)], field(default=False)


_OtherSchemas = make_dataclass(  # one option each
    "_OtherSchemas",
    [
        _schema_option("report", "Print the schema of report.json instead."),
        _schema_option("plan", "Print the schema of a saved plan instead."),
        *(_schema_option(module.OPTION, module.HELP) for module in found("schemas")),
    ],
)


@command(
    "crucible-batch schema > manifest.schema.json",
    output="verbose",
)
def schema(
    _result: CommandOutput,
    *,
    others: _OtherSchemas,  # type: ignore[valid-type]  # features add to it
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the schema to FILE instead of stdout."
        ),
    ] = None,
    force: opt.Force = False,
) -> None:
    """Print the JSON Schema of the manifest, for editors and validators."""
    from crucible_batch.cli.schema import print_schema

    options = asdict(others)
    chosen = [name for name, is_wanted in options.items() if is_wanted]
    if len(chosen) > 1:
        names = [f"--{name}" for name in options]
        raise UserError(
            f"{', '.join(names[:-1])} and {names[-1]} exclude each other", hint="give one of them"
        )
    print_schema(chosen[0] if chosen else "manifest", output=output, force=force)


@command("crucible-batch explain NO_ANSWER", "crucible-batch explain", output="json verbose")
def explain(
    output: CommandOutput,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="Error code to explain; without it, all are listed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Explain an error code: its meaning, and what to do about it."""
    from crucible_batch.cli import explain

    if code is None:
        explain.list_codes(output)
    else:
        explain.explain(output, code)

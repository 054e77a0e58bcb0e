"""The read commands: ``status``, ``view``, ``audit``, ``report``, and those for account, schemas and error codes."""

# ruff: noqa: PLC0415, PLR0917 - a command imports what it needs when it runs; Typer passes by name

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import answering
from crucible_batch.cli.completion import error_codes, workflow_ids
from crucible_batch.cli.options import epilog
from crucible_batch.errors import UserError

commands = typer.Typer()
_PANEL = "Look"


@commands.command(
    rich_help_panel=_PANEL, epilog=epilog("crucible-batch status outputs/spring/default", codes=(0, 2, 5))
)
def status(run_dir: opt.RunDir, json: opt.AsJson = False, verbose: opt.Verbose = False) -> None:
    """Say how far a run is, or how it ended.

    Works while it is running and after it was killed, and asks no gateway.
    """
    with answering("status", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.status import show_status

        show_status(answer, run_dir)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch view", "crucible-batch view outputs/spring/default --open", codes=(0, 2)),
)
def view(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A run's directory, or one with runs up to two levels below it.")
    ] = Path("outputs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Show all runs on a local page, live while they go on.

    It reads the journals, also of a run that was killed, and changes nothing.
    Only this machine can open it, but every user of it can.
    Ctrl-C ends it, with exit code 0; the runs go on.
    """
    with answering("view", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.viewer import serve_view

        serve_view(answer, directory, port, open_browser=open_)


@commands.command(
    rich_help_panel=_PANEL, epilog=epilog("crucible-batch audit outputs/spring/default", codes=(0, 2, 3, 5, 7))
)
def audit(
    run_dir: opt.RunDir,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Hold a run's books against the gateway's own ledger.

    Each job and upload, as far back as the gateway shows. Works while a run is
    going on and after it was killed, and spends and changes nothing.
    """
    with answering("audit", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.audit import audit_and_tell

        audit_and_tell(answer, run_dir, api_base, proxy)


@commands.command(
    rich_help_panel=_PANEL, epilog=epilog("crucible-batch report outputs/spring/default", codes=(0, 2, 5))
)
def report(
    run_dir: opt.RunDir, no_html: opt.NoHtml = False, json: opt.AsJson = False, verbose: opt.Verbose = False
) -> None:
    """Write a run's report.json and report.html anew, from its journal."""
    with answering("report", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.status import write_report_and_tell

        write_report_and_tell(answer, run_dir, html=not no_html)


@commands.command(rich_help_panel=_PANEL, epilog=epilog("crucible-batch credits", codes=(0, 3, 5)))
def credits(
    api_base: opt.ApiBase = None, proxy: opt.Proxy = None, json: opt.AsJson = False, verbose: opt.Verbose = False
) -> None:
    """Show the account's credits and what moved them last."""
    with answering("credits", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.account import show_credits

        show_credits(answer, api_base, proxy)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch workflows", "crucible-batch workflows zimage-base", codes=(0, 3, 5)),
)
def workflows(
    workflow_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="Show this one's parameters.", show_default=False, autocompletion=workflow_ids
        ),
    ] = None,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    json: opt.AsJson = False,
    verbose: opt.Verbose = False,
) -> None:
    """List the gateway's workflows, or one workflow's parameters."""
    with answering("workflows", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.account import show_workflow, show_workflows

        if workflow_id is None:
            show_workflows(answer, api_base, proxy)
        else:
            show_workflow(answer, workflow_id, api_base, proxy)


@commands.command(rich_help_panel=_PANEL, epilog=epilog("crucible-batch assets", codes=(0, 3, 5)))
def assets(
    api_base: opt.ApiBase = None, proxy: opt.Proxy = None, json: opt.AsJson = False, verbose: opt.Verbose = False
) -> None:
    """List the input images that the account has at the gateway."""
    with answering("assets", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.account import show_assets

        show_assets(answer, api_base, proxy)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch schema > manifest.schema.json",
        "crucible-batch schema --live -o manifest.schema.json",
        codes=(0, 2, 3, 5),
    ),
)
def schema(
    report: Annotated[bool, typer.Option("--report", help="The schema of report.json instead.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="The schema of a saved plan instead.")] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="The schema of the small file beside an output instead.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="With the account's workflows and their parameters, asked of the gateway.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here, once it is whole.")
    ] = None,
    force: opt.Force = False,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    verbose: opt.Verbose = False,
) -> None:
    """Print the JSON Schema of the manifest, for editors and checks."""
    with answering("schema", verbose=verbose) as answer:
        from crucible_batch.cli.status import print_live_schema, print_schema

        chosen = [name for name, is_wanted in (("report", report), ("plan", plan), ("sidecar", sidecar)) if is_wanted]
        if len(chosen) + live > 1:
            raise UserError("--report, --plan, --sidecar and --live are four schemas", hint="ask for one at a time")
        if live:
            print_live_schema(answer, api_base, proxy, output=output, force=force)
        else:
            print_schema(chosen[0] if chosen else "manifest", output=output, force=force)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch explain NO_ANSWER", "crucible-batch explain", codes=(0, 2)),
)
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help="Explain this one; all are listed without.",
            show_default=False,
            autocompletion=error_codes,
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="All of them as a page.")] = False,
    json: opt.AsJson = False,
    verbose: opt.Verbose = False,
) -> None:
    """Say what an error code means and what to do about it."""
    with answering("explain", json=json, verbose=verbose) as answer:
        from crucible_batch.cli import explain

        if markdown and not json:
            explain.print_page()
        elif code is None:
            explain.list_codes(answer)
        else:
            explain.explain(answer, code)

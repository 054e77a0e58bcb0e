"""The ``plan`` command, and ``run --dry-run``: what a run would do."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from crucible_batch.cli.command_line import again, merge_command
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.render.elsewhere import is_plan_shown
from crucible_batch.cli.render.plan import plan_json, show_plan
from crucible_batch.cli.terminal import fact, working
from crucible_batch.core.credits import format_credits
from crucible_batch.core.plan_diff import ChangeKind
from crucible_batch.core.redaction import clean_path
from crucible_batch.core.retry_rule import Remedy, first_steps
from crucible_batch.features import found
from crucible_batch.features.registry import plan_kind_of, plan_kind_of_run
from crucible_batch.runs.cancellation import interruptible_immediately
from crucible_batch.runs.next_step import BUYS_AGAIN, GET_ACCESS
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import KEY_VARIABLE, Settings
from crucible_batch.shell_command import run_command, with_budget, with_option

_Result = TypeVar("_Result")


def show_what_a_run_would_do(
    output: CommandOutput,
    request: RunRequest,
    settings: Settings,
    *,
    save_to: Path | None = None,
    force: bool = False,
) -> None:
    for_run = output.command == "run"
    kind_for = plan_kind_of_run if for_run else plan_kind_of
    with working(output.err, "reading the manifest, querying the gateway"):
        planning = plan_request(
            request,
            kind_for,
            save_to,
            force=force,
            all_rows=output.verbose,
            for_run=for_run,
            settings=settings,
        )
        summary = asyncio.run(_interruptible(planning))
    output.data = plan_json(summary, saved=save_to)
    is_shown = is_plan_shown(output, summary, request.features)
    if not output.quiet and not is_shown:
        show_plan(output.out, summary)
        if save_to is not None:
            fact(output.out, "saved", clean_path(save_to), width=9)
        if any(
            view.show_next(output.out, summary, save_to or request.manifest, request)
            for view in found("plan_view")
        ):
            return
        plan_again = again()
        if for_run:
            plan_again = again("--dry-run")
        what_next = next_after_plan(
            summary, save_to, again(instead_of="run"), plan_again=plan_again
        )
        if summary.earlier_dir is not None and save_to is None:  # run would be refused
            what_next = with_option(again(instead_of="plan"), "--out-dir", str(summary.earlier_dir))
        if summary.is_waiting:  # likewise
            what_next = merge_command(summary.run_dir)
        if what_next is not None:
            what_next = _once_paid_jobs_can_succeed(summary, what_next)
            if settings.api_key is None:
                what_next = once_there_is_a_key(what_next, settings.env_file)
            fact(output.out, "next", (what_next, "command"), width=9)


async def _interruptible(work: Awaitable[_Result]) -> _Result:
    with interruptible_immediately():
        return await work


def next_after_plan(
    summary: PlanSummary, save_to: Path | None, command: str, *, plan_again: str
) -> str | None:
    """Return the next command after a plan; None if no job can start and no budget is known to be
    enough.

    ``command`` runs the plan, and ``plan_again`` makes it again. If something else has to be done
    first, the result is a sentence, with the command at its end if there is one that works.
    """
    is_saved = save_to is not None or summary.digest is not None
    plans = summary.remake or plan_again
    if summary.blocked is not None:
        return _once_no_job_can_start(summary, plans if is_saved else command)
    is_unlimited = summary.budget is None and summary.digest is None
    needs_budget = is_unlimited and "--yes" not in command and "-y" not in command.split()
    if summary.is_settled:
        if summary.remedy is Remedy.BUY_AGAIN:
            if save_to is not None:
                command = run_command(save_to)
            return _buying_again(plans, command, is_saved=is_saved)
        if is_saved or needs_budget:
            command = plans
        return _once_settled(summary, command)
    if save_to is not None:
        return run_command(save_to)
    if needs_budget:
        if summary.enough is None:
            return "set a budget: --budget N, or budget.credits in the manifest"
        return with_budget(command, format_credits(summary.enough))
    if summary.enough is not None and summary.period is None and summary.falls_short:
        return with_budget(command, format_credits(summary.enough))
    return command


def _once_paid_jobs_can_succeed(summary: PlanSummary, step: str) -> str:
    first = first_steps(dict.fromkeys(summary.comparison.paid_codes, ""))
    if not first or not step.startswith("crucible-batch run "):
        return step
    return f"{' and '.join(first)}, then: {step}"


def once_there_is_a_key(step: str, env_file: Path | None) -> str:
    """Return the next command after a plan that was made without an API key, which only ``run``
    needs."""
    first, comma, command = step.rpartition(", then: ")
    if not command.startswith("crucible-batch run "):
        return step
    where = "in the environment or in .env"
    if env_file is not None:
        where = f"in {shlex.quote(str(env_file))}"
    set_key = f"set {KEY_VARIABLE} {where}"
    if comma:
        set_key = f"{first} and {set_key}"
    return f"{set_key}, then: {command}"


def _once_no_job_can_start(summary: PlanSummary, command: str) -> str | None:
    """Return the command with a budget that is enough; None if none is known, or the account is
    what is too small."""
    if summary.period is not None and summary.period.is_limiting:
        return f"{command}   # from {summary.period.until}"
    budget, enough = summary.budget, summary.enough
    if budget is None or enough is None or enough <= budget:
        return None
    return with_budget(command, format_credits(enough))


def _buying_again(plans: str, runs: str, *, is_saved: bool) -> str:
    """Return the command for jobs that only ``--resubmit-unknown`` buys again, which is an option
    of ``run`` alone.

    A saved plan has to be one of failed jobs already: ``plans`` makes such a plan, and ``runs``
    runs what was planned.
    """
    if is_saved and "--retry-failed" not in plans:
        return f"{plans} --retry-failed"
    if not is_saved and "--retry-failed" not in runs:
        runs = f"{runs} --retry-failed"
    return f"{runs} --resubmit-unknown   # {BUYS_AGAIN}"


def _once_settled(summary: PlanSummary, command: str) -> str | None:
    """Return what is left to do if a run would change nothing.

    ``command`` is for jobs that were changed.
    """
    match summary.remedy:
        case None if not summary.comparison.counts.get(ChangeKind.FAILED):
            return "nothing to run: every job is done"
        case Remedy.RETRY:
            return f"{command} --retry-failed"
        case Remedy.GET_ACCESS:
            return f"{GET_ACCESS}, then: {command} --retry-failed"
        case Remedy.CHANGE:
            return f"change the failed jobs, then: {command}"
        case _:
            return None

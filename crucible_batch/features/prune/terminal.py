"""The ``prune`` command: shows which outputs go and why, asks, and shows what was deleted."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.filesize import decimal as format_bytes

from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.runs import age
from crucible_batch.cli.terminal import (
    Json,
    agrees,
    can_ask,
    fact,
    say,
    say_more,
    say_note,
    say_sentence,
    working,
)
from crucible_batch.cli.units import counted
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import CrucibleBatchError, ExitCode, UserError
from crucible_batch.features.prune.pruning import PrunableRun, Pruning, plan_pruning, prune_runs
from crucible_batch.features.prune.retention import (
    KeepCause,
    PruneCause,
    PruneDecision,
    RetentionRules,
)

SHOWN = 20
_GOES = {
    PruneCause.INTERRUPTED: "an earlier prune was interrupted",
    PruneCause.COUNT: "not one of the newest --keep runs of its manifest",
    PruneCause.SIZE: "the oldest, while all runs exceed --max-size",
}
_STAYS = {
    KeepCause.UNREADABLE: "the journal can't be read",
    KeepCause.RUNNING: "a run is in progress, or began meanwhile",
    KeepCause.UNFINISHED: "the newest run was stopped or killed; the same command resumes it",
    KeepCause.HELD: "credits are still held",
    KeepCause.UNKNOWN: "the outcome of a job is unknown",
    KeepCause.SHARDS: "it has shards that are not merged, or is one",
    KeepCause.UNREPORTED: "the newest run has no report yet",
    KeepCause.NEWEST: "the newest of its manifest",
}


def prune_and_show(
    output: CommandOutput, directory: Path, rules: RetentionRules, *, dry_run: bool, yes: bool
) -> None:
    """Prune the runs below a directory. Without consent, only show what would be deleted."""
    if rules == RetentionRules():
        hint = f"for example: {again('--older-than', '30d')}"
        raise UserError("no criterion is given: --older-than, --keep or --max-size", hint=hint)
    if not directory.is_dir():
        raise UserError(
            f"there is no directory {directory}", hint="choose a directory that contains runs"
        )
    now = time.time()
    with working(output.err, "reading the runs"):
        pruning = plan_pruning(directory, rules=rules, now=now)
    if not pruning.is_complete:
        say_note(output.err, "too many entries to search all of them; name a directory of runs")
    if not dry_run and pruning.going and (yes or _agreed(output, pruning, rules)):
        with working(output.err, "deleting outputs"):
            done = prune_runs(pruning, now=now)
        _show_pruned(output, done, rules)
        return
    output.data = _as_json(pruning, dry_run=True)
    if not output.quiet:
        _show(output, pruning, "would be pruned", rules)
        if pruning.going and not yes:
            fact(output.out, "next", (again("--yes"), "command"))


def _agreed(output: CommandOutput, pruning: Pruning, rules: RetentionRules) -> bool:
    """Ask on the terminal; False if there is none, so that the command is a dry run."""
    if not can_ask(output.err):
        return False
    _show_runs(output, pruning, rules)
    say_sentence(output.err, ("Journals and reports are kept. The outputs are deleted.", "warn"))
    return agrees(
        output.err, f"Delete {_total(pruning.going)} of {counted(len(pruning.going), 'run')}?"
    )


def _show_pruned(output: CommandOutput, done: Pruning, rules: RetentionRules) -> None:
    output.data = _as_json(done, dry_run=False)
    failed = [run for run in done.going if run.error is not None]
    if failed:
        first = failed[0].error
        runs = counted(len(failed), "run")
        message = f"{runs} could not be pruned completely; the first: {failed[0].run_dir}: {first}"
        code = "DISK"
        if isinstance(first, CrucibleBatchError):
            code = first.code
        output.blame(code, message, again(), exit_code=ExitCode.STOPPED)
    if not output.quiet:
        _show(output, done, "pruned", rules)
        for run in failed:
            fact(output.out, "failed", (clean(f"{run.run_dir}: {run.error}", 4000), "bad"))


def _show(output: CommandOutput, pruning: Pruning, done: str, rules: RetentionRules) -> None:
    going = pruning.going
    where = (f"   {clean_path(pruning.directory)}", "quiet")
    runs = counted(len(pruning.runs), "run")
    words = "no run to prune"
    if going:
        words = f"{len(going)} of {runs} {done}, {_total(going)}"
    say(output.out, (words, "strong"), where)
    _show_runs(output, pruning, rules)


def _show_runs(output: CommandOutput, pruning: Pruning, rules: RetentionRules) -> None:
    going = pruning.going
    goes = {**_GOES, PruneCause.AGE: f"ended more than {age(rules.older_than_s or 0)} ago"}
    for run in going[:SHOWN]:
        assert run.decision.prune is not None  # as it is going
        reason = (f"   {goes[run.decision.prune]}", "quiet")
        say(output.out, f"  {clean_path(run.run_dir)}   {format_bytes(_bytes(run))}", reason)
    say_more(output.out, len(going) - SHOWN)
    _show_kept(output, pruning)
    changed = [f"{run.run_dir}/{kept}" for run in going for kept in run.kept]
    if changed:
        names = ", ".join(clean(path, 300) for path in changed[:3])
        if len(changed) > 3:
            names += " …"
        words = f"not as they were saved, so not deleted: {names}"
        fact(output.out, "left", f"{len(changed)}  ", (words, "warn"))


def _show_kept(output: CommandOutput, pruning: Pruning) -> None:
    """Print how many runs are kept for which reason: protected ones first, then the others."""
    decisions = [run.decision for run in pruning.runs]
    protected = Counter(each.keep for each in decisions if each.keep is not None)
    for cause, count in protected.items():
        fact(output.out, "kept", f"{count}  ", (_STAYS[cause], "quiet"))

    idle: Counter[str] = Counter()
    for run in pruning.runs:
        if run.decision == PruneDecision():
            why = "pruned earlier" if run.facts.is_pruned else "no criterion applies"
            idle[why] += 1
    for reason, count in idle.items():
        fact(output.out, "kept", f"{count}  ", (reason, "quiet"))


def _bytes(run: PrunableRun) -> int:
    if run.deleted is None:
        return run.facts.byte_size
    return run.deleted


def _total(runs: list[PrunableRun]) -> str:
    return format_bytes(sum(map(_bytes, runs)))


def _as_json(pruning: Pruning, *, dry_run: bool) -> Json:
    return {
        "directory": str(pruning.directory),
        "complete": pruning.is_complete,
        "dry_run": dry_run,
        "pruned": len(pruning.going),
        "byte_size": sum(map(_bytes, pruning.going)),
        "runs": [_run_json(run) for run in pruning.runs],
    }


def _run_json(run: PrunableRun) -> Json:
    ended_at = run.facts.ended_at
    return {
        "run_dir": str(run.run_dir),
        "run_id": run.facts.run_id or None,
        "ended_at": rfc3339(ended_at) if ended_at else None,
        "byte_size": _bytes(run),
        "prune": run.decision.prune,
        "keep": run.decision.keep,
        "left": list(run.kept),
        "error": None if run.error is None else str(run.error),
    }

"""The ``merge`` command: merges, and shows the merged run as ``run`` shows the end of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from crucible_batch.api import MergeResult, clean, merge, read_status
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.redaction import redacted
from crucible_batch.cli.render.summary import ending_line, group_failures, head_json, show_summary
from crucible_batch.cli.status import next_command
from crucible_batch.cli.terminal import Json, at_level, fact, say, tell, working
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.report import ReportHead

_NUMBERS_SHOWN = 12


def read_abandoned(values: Sequence[str]) -> list[int] | Literal["all"]:
    """Return the numbers of shards, each given as ``3`` or ``3/8``, or ``all``. Raises ``UserError``."""
    if "all" in values:
        return "all"
    numbers: list[int] = []
    for value in values:
        number = value.partition("/")[0]
        if not number.isascii() or not number.isdigit() or not int(number):
            raise UserError(f"--abandon {value}: it is not the number of a shard", hint="such as --abandon 3, or all")
        numbers.append(int(number))
    return numbers


def merge_and_tell(
    answer: CommandOutput,
    run_dirs: Sequence[Path],
    out_dir: Path | None,
    abandon: list[int] | Literal["all"],
    *,
    html: bool,
) -> None:
    """Merge the shards, show the merged run, and take its exit code."""
    with working(answer.err, "merging the shards"):
        result = merge(run_dirs, out_dir=out_dir, abandon=abandon, html=html)
    head = result.report
    answer.data = _as_json(result)
    if head is None:
        if not answer.quiet:
            tell(answer.out, (f"✓ {_headline(result)}", "strong"), "   no run has begun in any of them")
            fact(answer.out, "results", clean(str(result.run_dir), 4000))
        return
    status = read_status(result.run_dir)
    failures = group_failures(head, status.jobs())
    what_next = next_command(status)
    if result.exit_code is not ExitCode.OK:
        _blame(answer, result, head, what_next)
        answer.is_told = True
        if answer.quiet:
            with at_level(answer.err, logging.ERROR):
                say(answer.err, redacted(ending_line(head, result.run_dir, failures, result.exit_code)))
    if not answer.quiet:
        show_summary(
            answer.out,
            head,
            result.run_dir,
            failures=failures,
            next_step=what_next,
            tail=f" · {_headline(result)}",
            page=result.page,
        )
        if result.outputs_at is not None:
            fact(answer.out, "outputs", clean(result.outputs_at, 4000))


def _headline(result: MergeResult) -> str:
    if result.is_repeated:
        return "all shards were merged before"
    parts = [f"{_shards(result.merged)} merged"] if result.merged else []
    parts += [f"{_shards(result.abandoned)} abandoned"] if result.abandoned else []
    return ", ".join(parts) or "the merge of the shards is finished"


def _shards(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NUMBERS_SHOWN]))
    more = f" and {len(numbers) - _NUMBERS_SHOWN} more" if len(numbers) > _NUMBERS_SHOWN else ""
    return f"shard{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _blame(answer: CommandOutput, result: MergeResult, head: ReportHead, what_next: str | None) -> None:
    stop = next(iter(head.stops.values()), None)
    if stop is not None:
        answer.blame(stop.code, stop.message, stop.hint, stop.request_id, exit_code=result.exit_code)
    else:
        message = f"{head.counts.succeeded} of {head.counts.total} jobs succeeded"
        answer.blame("JOBS_NOT_DONE", message, what_next, exit_code=result.exit_code)


def _as_json(result: MergeResult) -> dict[str, Json]:
    head: dict[str, Json] = {"run_dir": str(result.run_dir)}
    if result.report is not None:
        head = head_json(result.report, result.run_dir, result.page)
    if result.outputs_at is not None:
        head["outputs_at"] = result.outputs_at
    return {
        **head,
        "merge": {
            "plan_digest": result.plan_digest,
            "merged": list(result.merged),
            "abandoned": list(result.abandoned),
            "repeated": result.is_repeated,
            "outputs": result.outputs,
            "absent": list(result.absent),
        },
    }

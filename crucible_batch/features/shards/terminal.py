"""The ``merge`` command: merges, and shows the merged run as ``run`` shows the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.ending import show_ending
from crucible_batch.cli.render.summary import head_json
from crucible_batch.cli.status import next_command
from crucible_batch.cli.terminal import Json, fact, say_sentence, working
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.shards.merge_rule import shards_text
from crucible_batch.features.shards.merging import MergeResult, merge
from crucible_batch.runs.next_step import group_failures
from crucible_batch.runs.running import RunResult
from crucible_batch.runs.status import read_status


def read_abandoned(values: Sequence[str]) -> list[int] | Literal["all"]:
    """Return the numbers of shards, each given as ``3`` or ``3/8``, or ``all``.

    Raises ``UserError``.
    """
    if "all" in values:
        return "all"
    numbers: list[int] = []
    for value in values:
        number = value.partition("/")[0]
        if not number.isascii() or not number.isdigit() or not int(number):
            raise UserError(
                f"--abandon {value}: it is not the number of a shard",
                hint="such as --abandon 3, or all",
            )
        numbers.append(int(number))
    return numbers


def merge_and_show(
    output: CommandOutput,
    run_dirs: Sequence[Path],
    out_dir: Path | None,
    abandon: list[int] | Literal["all"],
    *,
    html: bool,
) -> None:
    with working(output.err, "merging the shards"):
        result = merge(run_dirs, out_dir=out_dir, abandon=abandon, html=html)
    head = result.report
    output.data = _as_json(result)
    if head is None:
        if not output.quiet:
            say_sentence(
                output.out,
                (f"✓ {_headline(result)}", "strong"),
                "   no run has begun in any of them",
            )
            fact(output.out, "results", clean_path(result.run_dir))
        return
    status = read_status(result.run_dir)
    failures = group_failures(head, status.jobs())
    merged = RunResult(
        result.run_dir, head, result.exit_code, page=result.page, outputs_at=result.outputs_at
    )
    show_ending(output, merged, failures, next_command(status), tail=f" · {_headline(result)}")


def _headline(result: MergeResult) -> str:
    if result.is_repeated:
        return "all shards were merged before"
    parts = []
    if result.merged:
        parts.append(f"{shards_text(result.merged)} merged")
    if result.abandoned:
        parts.append(f"{shards_text(result.abandoned)} abandoned")
    return ", ".join(parts) or "the merge of the shards is finished"


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

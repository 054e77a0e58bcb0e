"""What a plan changes, compared with the directory's last plan: jobs by mark, with reasons, as text
and JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from crucible_batch.cli.display.progress_text import shorten
from crucible_batch.cli.redaction import in_json
from crucible_batch.cli.terminal import Json, say_indented
from crucible_batch.core.credits import format_credits
from crucible_batch.core.plan_diff import ChangeCause, ChangeKind, ComparedJob, change_words
from crucible_batch.core.redaction import clean
from crucible_batch.runs.plan_comparison import Comparison, PlanGroup

_MARKS = {
    ChangeKind.NEW: ("+", "good"),
    ChangeKind.CHANGED: ("~", "warn"),
    ChangeKind.COLLECTED: (">", "busy"),
    ChangeKind.FAILED: ("!", "bad"),
    ChangeKind.DONE: ("=", "quiet"),
    ChangeKind.GONE: ("-", "bad"),
}
_WORDS = {
    ChangeKind.COLLECTED: "to collect",
    ChangeKind.DONE: "already done",
    ChangeKind.GONE: "no longer in the manifest",
}
_WIDEST_HEAD = 36
_NAME = 30


def show_comparison(console: Console, found: Comparison) -> None:
    """Print the lines of a comparison."""
    lines = comparison_lines(found)
    width = min(_WIDEST_HEAD, max((len(head) for _, head, _ in lines), default=0))
    for mark, head, tail in lines:
        sign, style = _MARKS[mark]
        start = Text.assemble((f"  {sign} ", style), f"{shorten(head, width):<{width}}  ")
        say_indented(console, start, (tail, "quiet"))


def comparison_lines(found: Comparison) -> list[tuple[ChangeKind, str, str]]:
    """Return the groups, or every job if all were requested: the mark, the jobs, and why.

    Jobs that are shown individually are in no group.
    """
    single = {row.reason.mark for row in found.rows}
    lines = [
        *(_group(group) for group in found.groups if group.mark not in single),
        *((row.reason.mark, clean(row.name, 300), why_words(row)) for row in found.rows),
    ]
    order = list(ChangeKind)
    if not found.is_whole:
        lines.sort(key=lambda line: order.index(line[0]))
    return lines


def sign_of(mark: ChangeKind) -> str:
    return _MARKS[mark][0]


def count_words(found: Comparison) -> str:
    """Return the number of jobs of each mark.

    Jobs no longer in the manifest come last, separately.
    """
    counts = {mark: found.counts.get(mark, 0) for mark in ChangeKind}
    gone = counts.pop(ChangeKind.GONE)
    words = ", ".join(f"{count} {_word(mark)}" for mark, count in counts.items() if count) or "none"
    if gone:
        words += f"; {gone} {_word(ChangeKind.GONE)}"
    return words


def why_words(row: ComparedJob) -> str:
    reason = row.reason
    code, cost = clean(reason.code or "an error", 60), format_credits(reason.credits)
    match reason.why:
        case ChangeCause.CHANGED:
            words = "; ".join(map(change_words, reason.changes))
            if reason.credits:
                words += f"  (the old one cost {cost})"
            return words
        case ChangeCause.GONE if reason.credits:
            return f"no longer in the manifest; it cost {cost}, and its files are kept"
        case ChangeCause.MISSING_OUTPUT:
            paths = _paths(reason.missing + reason.resized)
            return f"output missing: {paths} downloaded again at no cost"
        case ChangeCause.CHANGED_OUTPUT:
            paths = _paths(reason.resized)
            again = f"{paths} downloaded again at no cost"
            return f"output changed: {again}; the changed file is kept"
        case ChangeCause.DONE:
            return f"done for {cost}; there is nothing to do"
        case _:
            return _SENTENCES[reason.why].format(code=code)


def _paths(paths: Sequence[str]) -> str:
    """Return the subject and the verb of a sentence on outputs."""
    first = clean(paths[0], 200)
    if len(paths) == 1:
        return f"{first} is"
    return f"{first} and {len(paths) - 1} more are"


_SENTENCES = {
    ChangeCause.NEVER_RUN: "never run",
    ChangeCause.NOT_SENT: "started but never sent ({code}); nothing was bought",
    ChangeCause.RETRIED: "failed with {code}; another attempt is bought",
    ChangeCause.IN_FLIGHT: "in flight since an earlier run; resumed, not bought again",
    ChangeCause.NOT_FETCHED: "succeeded; its outputs are downloaded at no cost",
    ChangeCause.UNANSWERED: "sent but never answered; sent again with the same idempotency key",
    ChangeCause.UNAVAILABLE: (
        "paid for, but its output couldn't be downloaded ({code}); retried at no cost"
    ),
    ChangeCause.VANISHED: "the gateway had no record of it; polled again, not bought again",
    ChangeCause.UNREADABLE: (
        "its journal entries contradict each other ({code}); nothing more is bought for it"
    ),
    ChangeCause.FAILED: "failed with {code}; only --retry-failed buys another attempt",
    ChangeCause.BLOCKED: "ended with {code}; nothing more is bought for it",
    ChangeCause.GONE: "no longer in the manifest; nothing was bought for it",
}


def comparison_json(found: Comparison) -> dict[str, Json]:
    """Return a comparison as JSON: counts by mark, groups, and all jobs if requested."""
    data: dict[str, Json] = {
        "diff": {mark.value: found.counts.get(mark, 0) for mark in ChangeKind},
        "groups": [
            {
                "mark": group.mark.value,
                "workflow_id": group.workflow_id,
                "count": group.count,
                "fields": list(group.fields),
                "paid": format_credits(group.credits),
            }
            for group in found.groups
        ],
    }
    if found.is_whole:
        data["jobs"] = [_row_json(row) for row in found.rows]
    return data


def _row_json(row: ComparedJob) -> dict[str, Json]:
    reason = row.reason
    return {
        "name": row.name,
        "workflow_id": row.workflow_id,
        "mark": reason.mark.value,
        "why": reason.why.value,
        "changes": [
            {
                "field": each.field,
                "before": in_json(each.before, str),
                "after": in_json(each.after, str),
            }
            for each in reason.changes
        ],
        "code": reason.code,
        "missing": list(reason.missing),
        "resized": list(reason.resized),
        "paid": format_credits(reason.credits),
    }


def _group(group: PlanGroup) -> tuple[ChangeKind, str, str]:
    names = ", ".join(shorten(clean(name, 300), _NAME) for name in group.names)
    text = f"{clean(group.workflow_id, 60)}: {names}"
    if group.count > len(group.names):
        text += f" and {group.count - len(group.names)} more"
    if group.fields:
        text += f"  {', '.join(clean(name, 60) for name in group.fields)}"
    if group.credits:
        text += f"  ({format_credits(group.credits)} paid)"
    return group.mark, f"{group.count} {_word(group.mark)}", text


def _word(mark: ChangeKind) -> str:
    return _WORDS.get(mark, mark.value)

"""A plan's comparison for people, as a diff is read: one line a group, one for each job that has more to say."""

from __future__ import annotations

from rich.console import Console

from crucible_batch.api import Change, Compared, Comparison, Mark, PlanGroup, Why, clean, format_credits
from crucible_batch.cli.answer import Json
from crucible_batch.cli.display.words import shorten
from crucible_batch.cli.terminal import say

_MARKS = {
    Mark.NEW: ("+", "good"),
    Mark.CHANGED: ("~", "warn"),
    Mark.COLLECTED: (">", "busy"),
    Mark.FAILED: ("!", "bad"),
    Mark.DONE: ("=", "quiet"),
    Mark.GONE: ("-", "bad"),
}
_WORDS = {Mark.COLLECTED: "to collect", Mark.DONE: "done already", Mark.GONE: "no longer in the manifest"}
_WIDEST_HEAD = 36
_NAME = 30
_VALUE = 48
_CONTEXT = 12


def show_comparison(console: Console, found: Comparison) -> None:
    """Print the groups, or every job where all were asked for. Jobs that are shown one by one are in no group."""
    single = {row.reason.mark for row in found.rows}
    lines = [
        *(_group(group) for group in found.groups if group.mark not in single),
        *((row.reason.mark, clean(row.name, 300), why_words(row)) for row in found.rows),
    ]
    order = list(Mark)
    if not found.is_whole:
        lines.sort(key=lambda line: order.index(line[0]))
    width = min(_WIDEST_HEAD, max((len(head) for _, head, _ in lines), default=0))
    for mark, head, tail in lines:
        sign, style = _MARKS[mark]
        say(console, (f"  {sign} ", style), f"{shorten(head, width):<{width}}  ", (tail, "quiet"))


def count_words(found: Comparison) -> str:
    """Say how many jobs there are of each mark; those that the manifest has no longer come last, apart."""
    words = {mark: f"{count} {_word(mark)}" for mark in Mark if (count := found.counts.get(mark))}
    gone = words.pop(Mark.GONE, None)
    return "; ".join(part for part in (", ".join(words.values()) or "none", gone) if part)


def why_words(row: Compared) -> str:
    """Say why a run would bring a job on, or why not."""
    reason = row.reason
    code, cost = clean(reason.code or "an error", 60), format_credits(reason.credits)
    match reason.why:
        case Why.CHANGED:
            before = f"  (the old one cost {cost})" if reason.credits else ""
            return "; ".join(_change(change) for change in reason.changes) + before
        case Why.GONE if reason.credits:
            return f"no longer in the manifest; it cost {cost}, and its files stay"
        case Why.MISSING_OUTPUT:
            more = f" and {len(reason.paths) - 1} more" if len(reason.paths) > 1 else ""
            return f"output missing: {clean(reason.paths[0], 200)}{more} is fetched again, for no credits"
        case Why.DONE:
            return f"done for {cost}; there is nothing to do"
        case _:
            return _SENTENCES[reason.why].format(code=code)


_SENTENCES = {
    Why.NEVER_RUN: "never run",
    Why.NOT_SENT: "begun and never sent ({code}); nothing was bought",
    Why.RETRIED: "failed with {code}; another attempt is bought",
    Why.IN_FLIGHT: "in flight since an earlier run; it is awaited, not bought again",
    Why.NOT_FETCHED: "succeeded; its outputs are fetched, for no credits",
    Why.UNANSWERED: "sent and never answered; the same key asks again",
    Why.UNAVAILABLE: "paid for, and its output couldn't be had ({code}); it is asked for again, for no credits",
    Why.VANISHED: "the gateway no longer knew it; it is asked for again, and not bought again",
    Why.UNREADABLE: "the journal contradicts itself about it ({code}); nothing more is bought for it",
    Why.FAILED: "failed with {code}; only --retry-failed buys another attempt",
    Why.GONE: "no longer in the manifest; nothing was bought for it",
}


def comparison_json(found: Comparison) -> dict[str, Json]:
    """Return a comparison as JSON: counts by mark, groups, and all jobs where they were asked for."""
    data: dict[str, Json] = {
        "diff": {mark.value: found.counts.get(mark, 0) for mark in Mark},
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


def _row_json(row: Compared) -> dict[str, Json]:
    reason = row.reason
    return {
        "name": row.name,
        "workflow_id": row.workflow_id,
        "mark": reason.mark.value,
        "why": reason.why.value,
        "changes": [
            {"field": each.field, "before": _json(each.before), "after": _json(each.after)} for each in reason.changes
        ],
        "code": reason.code,
        "missing": list(reason.paths),
        "paid": format_credits(reason.credits),
    }


def _group(group: PlanGroup) -> tuple[Mark, str, str]:
    names = ", ".join(shorten(clean(name, 300), _NAME) for name in group.names)
    more = f" and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
    paid = f"  ({format_credits(group.credits)} paid)" if group.credits else ""
    head = f"{group.count} {_word(group.mark)}"
    fields = f"  {', '.join(clean(name, 60) for name in group.fields)}" if group.fields else ""
    return group.mark, head, f"{clean(group.workflow_id, 60)}: {names}{more}{fields}{paid}"


def _word(mark: Mark) -> str:
    return _WORDS.get(mark, mark.value)


def _change(change: Change) -> str:
    if change.before is None:
        return f"{change.field}: {_value(change.after)} is given now"
    if change.after is None:
        return f"{change.field}: {_value(change.before)} is no longer given"
    if isinstance(change.before, str) and isinstance(change.after, str):
        before, after = contrast(change.before, change.after)
        return f"{change.field}: {_value(before)} → {_value(after)}"
    return f"{change.field}: {_value(change.before)} → {_value(change.after)}"


def contrast(before: str, after: str) -> tuple[str, str]:
    """Cut two long texts to where they begin to differ."""
    differs = (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    start = next(differs, min(len(before), len(after))) - _CONTEXT
    if start <= 0 or max(len(before), len(after)) <= _VALUE:
        return before, after
    return f"…{before[start:]}", f"…{after[start:]}"


def _value(value: object) -> str:
    text = clean(value if isinstance(value, str) else repr(value), 10_000)
    text = text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"
    return f"'{text}'" if isinstance(value, str) else text


def _json(value: object) -> Json:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    return str(value)

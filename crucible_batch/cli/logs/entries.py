"""Log entries: level and text of each progress message, and their lines without secrets."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from crucible_batch.cli.command_output import rfc3339
from crucible_batch.cli.display.json_lines import event_of
from crucible_batch.cli.display.message_text import (
    answered_words,
    control_words,
    jobs_at_once,
    unreachable_words,
)
from crucible_batch.cli.display.progress_text import budget_words
from crucible_batch.cli.redaction import CONTROL_CATEGORIES, in_json, redacted
from crucible_batch.cli.run_options import LogFormat
from crucible_batch.cli.terminal import Json
from crucible_batch.cli.units import counted
from crucible_batch.core.credits import format_credits
from crucible_batch.core.events import event_name
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.progress import (
    AssetAdvanced,
    Controlled,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    JobsAdded,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    ShardsAdvanced,
    Stopping,
    TakenUp,
    Throttled,
)
from crucible_batch.core.redaction import clean

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a log.

    ``level`` is that of ``logging``; ``data`` has the fields of the message's JSON line.
    """

    at: float
    level: int
    event: str
    message: str
    job: str | None = None
    attempt: int | None = None
    code: str | None = None
    request_id: str | None = None
    data: Mapping[str, Json] = field(default_factory=dict)


_JOB_LEVELS: Mapping[str, int] = {
    "Held": DEBUG,
    "Prepared": DEBUG,
    "Accepted": INFO,
    "HoldReleased": WARNING,
    "Refused": ERROR,
    "SubmitUnknown": WARNING,
    "Repriced": WARNING,
    "Succeeded": INFO,
    "Listed": DEBUG,
    "Failed": ERROR,
    "JobLost": ERROR,
    "Saved": INFO,
    "Unavailable": ERROR,
    "Missed": WARNING,
    "Relocated": INFO,
    "Reopened": INFO,
}
"""The level of each event of a job; an error after which the job is tried again is a warning."""
_IMAGE_LEVELS: Mapping[str, int] = {
    "BecameReady": INFO,
    "Found": INFO,
    "NotCreated": WARNING,
    "Lost": WARNING,
}
"""The level of each event of an input image; DEBUG for the others."""


def level_of(message: Message) -> int:
    match message:
        case JobAdvanced():
            level = _JOB_LEVELS[event_name(message.event)]
            if message.phase is Phase.READY:
                level = min(level, WARNING)
            return level
        case AssetAdvanced():
            return _IMAGE_LEVELS.get(event_name(message.event), DEBUG)
        case Throttled():
            if message.reason is None:
                return DEBUG
            return WARNING
        case Retrying() | GatewayUnreachable() | Stopping() | Controlled():
            return WARNING
        case RunBegan() | TakenUp() | JobsAdded() | ShardsAdvanced() | GatewayBack() | RunEnded():
            return INFO
        case _:
            assert_never(message)


def entry_of(message: Message, attempt: int | None = None) -> LogEntry:
    """Return the entry of a message. ``attempt`` is the number of its job's attempt, if known."""
    kind, data = event_of(message)
    step = data.get("event")
    if step is not None:
        kind += f"_{step}"
    event = getattr(message, "event", None)
    error = getattr(event, "error", None)
    code = getattr(message, "code", None)
    if error is not None:
        code = error.code
    return LogEntry(
        at=message.at,
        level=level_of(message),
        event=kind,
        message=_words(message, data),
        job=getattr(message, "name", None),
        attempt=getattr(event, "attempt", attempt),
        code=code,
        request_id=getattr(error, "request_id", None),
        data=data,
    )


def _words(message: Message, data: Mapping[str, Json]) -> str:
    match message:
        case RunBegan():
            return f"run began: {counts_words(message.counts)}; {_money(message)}"
        case TakenUp():
            return f"job {clean(message.name, 80)}: resumed ({message.phase.value})"
        case JobAdvanced():
            step = str(data["event"]).replace("_", " ")
            return f"job {clean(message.name, 80)}: {step}{_details(message.event)}"
        case AssetAdvanced():
            step = str(data["event"]).replace("_", " ")
            return f"image {clean(message.filename, 80)}: {step}{_details(message.event)}"
        case Retrying():
            return _retry_words(message)
        case GatewayUnreachable():
            return f"{unreachable_words(message)}: {clean(message.reason, 200)}"
        case GatewayBack():
            return answered_words(message)
        case Throttled():
            text = f"at most {jobs_at_once(message.limit)}"
            if message.reason is not None:
                text += f": {clean(message.reason, 60)}"
            return text
        case Stopping():
            return f"stopping: {clean(message.code, 60)}: {clean(message.message, 300)}"
        case Controlled():
            return clean(control_words(message), 300)
        case JobsAdded():
            return (
                f"{counted(message.count, 'job')} added: {clean(message.source, 80)} has been saved"
            )
        case ShardsAdvanced():
            return (
                f"shards: {message.ended} of {message.shards} ended, {message.running} running;"
                f" {counts_words(message.counts)}; {_money(message)}"
            )
        case RunEnded():
            stops = "".join(
                f"; {clean(it.code, 60)}: {clean(it.message, 200)}"
                for it in message.ending.stops.values()
            )
            ending = (
                f"run ended ({message.ending.status.value}, exit code {message.ending.exit_code})"
            )
            return f"{ending}: {counts_words(message.counts)}; {_money(message)}{stops}"
        case _:
            assert_never(message)


def _retry_words(message: Retrying) -> str:
    what = f"retry {message.attempt} of {message.operation}"
    if message.host:
        what += f" at {clean(message.host, 100)}"
    return f"{what} again in {message.wait_s:.1f} s: {clean(message.reason, 200)}"


def _details(event: object) -> str:
    """Return the most useful fields of an event in words, with a separator before them."""
    error = getattr(event, "error", None)
    if error is not None:
        return f": {clean(error.code, 60)}: {clean(error.message, 300)}"
    words = []
    for name, label, show in _DETAILS:
        value = getattr(event, name, None)
        if value is None:
            continue
        text = show(value)
        if text:
            words.append(f"{label}{text}")
    if not words:
        return ""
    return f" ({', '.join(words)})"


_DETAILS = (
    ("attempt", "attempt ", str),
    ("job_id", "job id ", lambda value: clean(str(value), 80)),
    ("asset_id", "asset id ", lambda value: clean(str(value), 80)),
    ("credits", "credits ", format_credits),
    ("reused", "", lambda value: "reused" if value else ""),
    ("outputs", "outputs ", str),
    ("path", "", lambda value: clean(str(value), 300)),
    ("byte_size", "", lambda value: f"{value} bytes"),
)
"""The fields of events that are shown: name, label, and the value's text, omitted if empty."""


def counts_words(counts: Mapping[Outcome, int] | Mapping[str, int]) -> str:
    """Return the number of jobs by outcome: ``3 of 5 jobs succeeded, 1 failed, 1 pending``."""
    found = {str(word): count for word, count in counts.items()}
    others = [
        f"{found[word]} {word}"
        for word in ("failed", "blocked", "unknown", "pending")
        if found.get(word)
    ]
    total = sum(found.get(outcome.value, 0) for outcome in Outcome)
    return ", ".join([f"{found.get('succeeded', 0)} of {total} jobs succeeded", *others])


def _money(message: RunBegan | ShardsAdvanced | RunEnded) -> str:
    balance = message.balance
    spent, held = format_credits(balance.spent), format_credits(balance.held)
    return f"{spent} credits spent, {held} held, {budget_words(balance)}"


@dataclass(frozen=True, slots=True)
class LogContext:
    """The run that entries belong to.

    ``source`` is the manifest's path as given; name and run id are known later.
    """

    source: str
    manifest: str | None = None
    run_id: str | None = None

    def beginning(self, manifest: str, run_id: str) -> LogContext:
        return replace(self, manifest=manifest or None, run_id=run_id or None)


def format_entry(entry: LogEntry, context: LogContext, log_format: LogFormat) -> str:
    if log_format is LogFormat.TEXT:
        return _as_text(entry, context)
    return _as_json(entry, context)


def _as_text(entry: LogEntry, context: LogContext) -> str:
    whose = context.source
    if context.manifest is not None:
        whose = f"{context.manifest}/{context.run_id}"
    head = f"{rfc3339(entry.at)} {logging.getLevelName(entry.level):<7}"
    return f"{head} {_one_line(redacted(f'{whose}[{os.getpid()}] {entry.message}'))}"


def _one_line(text: str) -> str:
    """Return text with control and bidirectional characters as escapes: no line can be forged."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if unicodedata.category(character) in CONTROL_CATEGORIES:
        return character.encode("unicode_escape").decode()
    return character


def _as_json(entry: LogEntry, context: LogContext) -> str:
    fields: dict[str, Json] = {
        "time": rfc3339(entry.at),
        "level": logging.getLevelName(entry.level),
        "event": entry.event,
        "message": entry.message,
        "pid": os.getpid(),
        "source": context.source,
        "manifest": context.manifest,
        "run_id": context.run_id,
        "job": entry.job,
        "attempt": entry.attempt,
        "request_id": entry.request_id,
        "code": entry.code,
        "data": dict(entry.data) or None,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    line = json.dumps(given)
    # The complete line is checked first, since checking each value takes ten times as long.
    if redacted(line) == line:
        return line
    return json.dumps(in_json(given, redacted))

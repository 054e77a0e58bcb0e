"""Log entries as lines of text or of JSON, without secrets and control characters."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from dataclasses import dataclass, replace

from crucible_batch.cli.answer import rfc3339
from crucible_batch.cli.logs.entries import LogEntry
from crucible_batch.cli.logs.log_format import LogFormat
from crucible_batch.cli.redaction import redacted
from crucible_batch.cli.terminal import Json

_CONTROL_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class LogContext:
    """The run that entries belong to. ``source`` is the manifest's path as given; name and run id are known later."""

    source: str
    manifest: str | None = None
    run_id: str | None = None

    def beginning(self, manifest: str, run_id: str) -> LogContext:
        """Return the context from the start of the run on."""
        return replace(self, manifest=manifest or None, run_id=run_id or None)


def format_entry(entry: LogEntry, context: LogContext, log_format: LogFormat) -> str:
    """Return an entry as one line, without its line break."""
    return _as_text(entry, context) if log_format is LogFormat.TEXT else _as_json(entry, context)


def _as_text(entry: LogEntry, context: LogContext) -> str:
    whose = context.source if context.manifest is None else f"{context.manifest}/{context.run_id}"
    head = f"{rfc3339(entry.at)} {logging.getLevelName(entry.level):<7}"
    return f"{head} {_one_line(redacted(f'{whose}[{os.getpid()}] {entry.message}'))}"


def _one_line(text: str) -> str:
    """Return text with its control and bidirectional characters as escapes, so that no line can be forged."""
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in _CONTROL_CATEGORIES else each
        for each in text
    )


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
    return line if redacted(line) == line else json.dumps(_redacted_values(given))


def _redacted_values(value: Json) -> Json:
    match value:
        case str():
            return redacted(value)
        case dict():
            return {redacted(str(name)): _redacted_values(item) for name, item in value.items()}
        case list():
            return [_redacted_values(item) for item in value]
        case _:
            return value

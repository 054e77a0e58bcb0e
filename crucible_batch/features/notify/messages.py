"""The event that a run's end is, and its message, version 1: JSON for programs, and as text.

    exit code      event
    0              success
    1              partial; failure if no job has succeeded
    4              blocked
    any other      failure: 2, 3, 5, 6, 70, 130, 143

A run that ends before its first job has an exit code as well (2, 3, 5 or 6), and so its end is a
failure too. Messages contain no prompts, parameters, links or texts of errors, which may quote
them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crucible_batch.errors import ExitCode
from crucible_batch.option_values import RunEvent
from crucible_batch.report.models import OutcomeCounts

MAX_ERROR_CODES = 10
MESSAGE_TYPES: Mapping[RunEvent, str] = {
    RunEvent.SUCCESS: "run.succeeded",
    RunEvent.PARTIAL: "run.partial",
    RunEvent.BLOCKED: "run.blocked",
    RunEvent.FAILURE: "run.failed",
}
"""The ``type`` of a message, by its event."""
_EVENTS = {name: event for event, name in MESSAGE_TYPES.items()}


def event_of(exit_code: int, succeeded: int) -> RunEvent:
    """Return the event of a run's end.

    ``succeeded`` counts the jobs that have succeeded, in this run or before.
    """
    match exit_code:
        case ExitCode.OK:
            return RunEvent.SUCCESS
        case ExitCode.SOME_FAILED if succeeded > 0:
            return RunEvent.PARTIAL
        case ExitCode.OUT_OF_CREDITS:
            return RunEvent.BLOCKED
        case _:
            return RunEvent.FAILURE


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class MessageCredits(_Model):
    """Credits, as decimal text."""

    budget: str | None = Field(
        default=None, description="Budget of the run; null if it had no budget."
    )
    run: str = Field(
        description="Credits that were spent in this run; negative if more was refunded."
    )
    total: str = Field(description="Credits that were spent over all runs in the run directory.")
    held: str = Field(
        description="Credits that may still be spent: jobs in flight and unanswered submits."
    )


class MessageData(_Model):
    """The run that the message is about."""

    test: bool = Field(
        default=False,
        description="True for a message of `doctor MANIFEST`, which is not about a run.",
    )
    manifest: str = Field(description="Name in the manifest.")
    run_id: str | None = Field(
        default=None, description="Id of the run; null if it ended before the id was known."
    )
    attempt: str = Field(description="UUID of this run of the directory.")
    exit_code: int = Field(description="Exit code of the run.")
    counts: OutcomeCounts | None = Field(
        default=None, description="Null if the run ended before it began."
    )
    credits: MessageCredits | None = Field(
        default=None, description="Null if the run ended before it began."
    )
    error_codes: list[str] = Field(
        default_factory=list,
        description=f"The first {MAX_ERROR_CODES} different error codes of the run and its jobs.",
    )
    run_dir: str | None = Field(
        default=None, description="Path of the run directory, if it exists."
    )
    report: str | None = Field(default=None, description="Path of report.json, if it was written.")
    next_command: str | None = Field(
        default=None, description="Command to run next, if there is one."
    )


class RunMessage(_Model):
    """A message about the end of a run."""

    schema_version: Literal[1] = Field(default=1, description="Version of the message format.")
    type: Literal["run.succeeded", "run.partial", "run.blocked", "run.failed"] = Field(
        description="What happened."
    )
    timestamp: str = Field(description="When it happened, RFC 3339 in UTC.")
    data: MessageData

    @property
    def event(self) -> RunEvent:
        return _EVENTS[self.type]

    @property
    def webhook_id(self) -> str:
        """The same for each try to deliver the message, and another one for any other message."""
        return f"msg_{uuid.uuid5(uuid.UUID(self.data.attempt), self.type).hex}"

    def to_json(self) -> bytes:
        return self.model_dump_json().encode()


def attempt_id(directory: str, began_at: float) -> str:
    """Return the UUID (version 5) of the run that began in a directory at this time.

    The time is in seconds since the epoch.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"crucible-batch:{directory}:{began_at!r}"))


def timestamp_of(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339 in UTC."""
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


_WORDS = {
    RunEvent.SUCCESS: "succeeded",
    RunEvent.PARTIAL: "finished, some jobs failed",
    RunEvent.BLOCKED: "stopped for lack of credits",
    RunEvent.FAILURE: "failed",
}


def title_of(message: RunMessage) -> str:
    data = message.data
    name = data.manifest
    if data.run_id is not None:
        name += f" · {data.run_id}"
    title = f"crucible-batch: {name} {_WORDS[message.event]}"
    if data.exit_code != 0:
        title += f" (exit {data.exit_code})"
    if data.test:
        title = f"[TEST] {title}"
    return title


def text_of(message: RunMessage) -> str:
    """Return the message as text of a few lines, without its title."""
    return "\n".join(f"{name:<9}{value}" for name, value in _facts(message) if value)


def _facts(message: RunMessage) -> Iterator[tuple[str, str]]:
    data = message.data
    if data.test:
        yield "test", "This message was sent by `crucible-batch doctor`."
    if data.counts is not None:
        yield "jobs", _counted(data.counts)
    if data.credits is not None:
        yield "credits", _spent(data.credits)
    yield "errors", ", ".join(data.error_codes)
    yield "report", data.report or data.run_dir or ""
    yield "next", data.next_command or ""
    yield "time", message.timestamp


def _counted(counts: OutcomeCounts) -> str:
    parts = (
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.blocked, "blocked"),
        (counts.pending, "pending"),
        (counts.unknown, "unknown"),
    )
    by_outcome = [f"{number} {word}" for number, word in parts if number]
    return ", ".join([f"{counts.total} in total", *by_outcome])


def _spent(spent: MessageCredits) -> str:
    text = f"{spent.run} spent in this run, {spent.total} in total"
    if spent.held != "0":
        text += f", {spent.held} held"
    if spent.budget is not None:
        text += f", budget {spent.budget}"
    return text


def message_schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **RunMessage.model_json_schema(mode="serialization"),
        "title": "crucible-batch notification, version 1",
    }

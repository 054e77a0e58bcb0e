"""Progress as JSON: one line per event, with ``type`` and ``at``, for programs that follow a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from decimal import Decimal

from crucible_batch.api import (
    AssetAdvanced,
    Balance,
    Event,
    JobAdvanced,
    Message,
    Outcome,
    Receiving,
    Retrying,
    RunBegan,
    RunEnded,
    Stopping,
    TakenUp,
    Throttled,
    event_name,
    format_credits,
)
from crucible_batch.cli.answer import CommandOutput, rfc3339
from crucible_batch.cli.terminal import Json

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class JsonLines:
    """An observer that writes each progress message to the JSON output of the command."""

    def __init__(self, answer: CommandOutput) -> None:
        self._answer = answer

    def notify(self, message: Message) -> None:
        """Write the message's line."""
        kind, fields = event_of(message)
        self._answer.event(kind, rfc3339(message.at), **fields)


def event_of(message: Message) -> tuple[str, dict[str, Json]]:
    """Return a message's ``type`` and the fields of its line. Credits are decimal text; times are RFC 3339."""
    match message:
        case RunBegan():
            return "run_began", {
                "total": message.total,
                "counts": _counts(message.counts),
                "balance": _balance(message.balance),
            }
        case TakenUp():
            return "taken_up", {
                "name": message.name,
                "phase": message.phase.value,
                "since": rfc3339(message.since),
                "beside": message.beside,
            }
        case JobAdvanced():
            return "job", {
                "name": message.name,
                "phase": message.phase.value,
                "event": _kind(message.event),
                **_facts(message.event),
                "balance": _balance(message.balance),
                "beside": message.beside,
            }
        case Receiving():
            return "receiving", {
                "name": message.name,
                "index": message.index,
                "received": message.received,
                "byte_size": message.byte_size,
            }
        case AssetAdvanced():
            return "image", {
                "filename": message.filename,
                "sha256": message.sha256,
                "byte_size": message.byte_size,
                "event": _kind(message.event),
                **_facts(message.event),
                "balance": _balance(message.balance),
            }
        case Retrying():
            return "retry", {
                "operation": message.operation,
                "attempt": message.attempt,
                "wait_s": round(message.wait_s, 3),
                "reason": message.reason,
            }
        case Throttled():
            return "throttled", {"limit": message.limit, "ceiling": message.ceiling, "reason": message.reason}
        case Stopping():
            return "stopping", {"code": message.code, "message": message.message, "grace_s": message.grace_s}
        case RunEnded():
            return "run_ended", {
                "status": message.ending.status.value,
                "exit_code": message.ending.exit_code,
                "counts": _counts(message.counts),
                "balance": _balance(message.balance),
            }


def _kind(event: Event) -> str:
    return _WORDS.sub("_", event_name(event)).lower()


def _counts(counts: Mapping[Outcome, int]) -> Json:
    return {outcome.value: count for outcome, count in counts.items()}


def _balance(balance: Balance) -> Json:
    return {
        "budget": None if balance.budget is None else format_credits(balance.budget),
        "spent": format_credits(balance.spent),
        "held": format_credits(balance.held),
        "left": None if balance.left is None else _signed(balance.left),
    }


def _signed(amount: Decimal) -> str:
    return f"-{format_credits(-amount)}" if amount < 0 else format_credits(amount)


def _facts(event: object) -> dict[str, Json]:
    """Return the fields of a journal event; they never include a URL or an account key."""
    if not dataclasses.is_dataclass(event) or isinstance(event, type):
        return {}
    facts = {field.name: getattr(event, field.name) for field in dataclasses.fields(event) if field.name != "at"}
    return {name: _json(value) for name, value in facts.items()}


def _json(value: object) -> Json:
    if isinstance(value, Decimal):
        return format_credits(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)

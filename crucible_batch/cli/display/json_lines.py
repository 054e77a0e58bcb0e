"""Progress as JSON: one line per event, with ``type`` and ``at``, for other programs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from crucible_batch.cli.account import signed_credits
from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.terminal import Json
from crucible_batch.core.credits import format_credits
from crucible_batch.core.events import event_name
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

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class JsonLines:
    """An observer that writes each progress message to the JSON output of the command."""

    def __init__(self, output: CommandOutput) -> None:
        self._output = output

    def notify(self, message: Message) -> None:
        kind, fields = event_of(message)
        self._output.event(kind, rfc3339(message.at), **fields)


LINES: Mapping[type[Message], tuple[str, str]] = {
    RunBegan: ("run_began", "manifest run_id total counts balance"),
    TakenUp: ("taken_up", "name phase since beside"),
    JobAdvanced: ("job", "name phase event balance beside"),
    AssetAdvanced: ("image", "filename sha256 byte_size event balance"),
    Retrying: ("retry", "operation attempt wait_s reason host"),
    GatewayUnreachable: ("gateway_unreachable", "lasted_s limit_s reason"),
    GatewayBack: ("gateway_back", "lasted_s"),
    Throttled: ("throttled", "limit ceiling reason"),
    Stopping: ("stopping", "code message grace_s"),
    Controlled: ("control", "action by via in_flight saving value names"),
    JobsAdded: ("jobs_added", "count source"),
    ShardsAdvanced: ("shards", "shards running ended counts balance"),
    RunEnded: ("run_ended", "ending counts balance"),
}
"""The ``type`` of each message's line, and the message's fields in it; ``_fields`` has the
exceptions.
"""

_AMOUNTS = ("budget", "spent", "held")
"""The fields of a balance that a line has, beside ``left``."""


def event_of(message: Message) -> tuple[str, dict[str, Json]]:
    """Return a message's ``type`` and the fields of its line.

    Credits are decimal text; times are RFC 3339.
    """
    kind, names = LINES[type(message)]
    fields: dict[str, Json] = {}
    for name in names.split():
        fields |= _fields(name, getattr(message, name))
    return kind, fields


def _fields(name: str, value: Any) -> dict[str, Json]:
    match name:
        case "event":
            return {"event": _WORDS.sub("_", event_name(value)).lower(), **_facts(value)}
        case "ending":
            return {"status": value.status.value, "exit_code": value.exit_code}
        case "balance":
            left = None if value.left is None else signed_credits(value.left)
            facts = {name: amount for name, amount in _facts(value).items() if name in _AMOUNTS}
            return {"balance": {**facts, "left": left}}
        case "since":
            return {"since": rfc3339(value)}
        case "wait_s" | "lasted_s":
            return {name: round(value, 3)}
        case _:
            return {name: _json(value)}


def _facts(value: Any) -> dict[str, Json]:
    """Return the fields of a value but ``at``.

    Those of a journal event never include a URL or an account key.
    """
    if isinstance(value, Struct):
        names = value.__struct_fields__
    else:
        names = tuple(field.name for field in dataclasses.fields(value))
    return {name: _json(getattr(value, name)) for name in names if name != "at"}


def _json(value: object) -> Json:
    if isinstance(value, Decimal):
        return format_credits(value)
    if isinstance(value, Struct) or dataclasses.is_dataclass(value):
        return _facts(value)
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)

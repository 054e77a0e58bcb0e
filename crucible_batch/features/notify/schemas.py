"""The schema of a notification's message, for the command ``schema``."""

from __future__ import annotations

from typing import Any

OPTION = "notification"
HELP = "Print the schema of a notification's message instead."


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the message."""
    from crucible_batch.features.notify.messages import message_schema  # noqa: PLC0415 - each command reads the above

    return message_schema()
